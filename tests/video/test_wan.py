"""Wan through diffusers' own classes: a tiny instance generates, learns, is saved and taken elsewhere exactly."""

import json
import shutil
import socket

import diffusers
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mmdiff.adapters import public
from mmdiff.adapters.prompts import PromptEncoder
from mmdiff.adapters.video.wan import WanCodec, WanNetwork
from mmdiff.adapters.video.write import write_video
from mmdiff.cli import adopt, embedder, encode, export, lora, mark
from mmdiff.cli import eval as evaluate
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.guidance import ClassifierFree, Distilled
from mmdiff.core.rng import Purpose, normal
from mmdiff.core.samplers import Euler, Jump, UniPC
from mmdiff.core.schedules import Until
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.generation.pipeline import load
from mmdiff.nn.frozen import frozen_tensors
from mmdiff.store import load_model
from mmdiff.testing import Trial
from mmdiff.training.base import base_of
from mmdiff.training.run import assemble, opened
from mmdiff.training.sharded import contents
from mmdiff.training.train import train
from tests import tiny
from tests.families import told_by_the_vector
from tests.laws import PublicCodecContract, PublicContract
from tests.published import Listed, of_flow
from tests.training.faults import killed_after
from tests.training.launch import Job
from tests.training.states import state

SIZE = {"frames": 5, "height": 32, "width": 48}
READER = [f"adapter.reader.{name}={n}" for name, n in SIZE.items()]
TEXTS = ["a red disc", "the blue square moves"]
ROWS, SEEDS = [{"caption": text} for text in TEXTS], [3, 4]
LOOP = [
    "data.captions=true", "lora=4", "loader.batch_size=4", "loader.val=0.2", "trainer=cpu", "trainer.max_steps=4",
    "checkpoint.every=2", "validation.every=2", "preview.n=0", "log.every=1", "logger=csv", "optim.lr=0.02",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.wan(tmp_path_factory.mktemp("models") / "wan")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for i in range(10):
        clip = torch.full((3, 23, 32, 48), -0.5)
        clip[i % 3, :, 4 + i : 12 + i, :20] = 0.8
        write_video(clip, root / f"{i}.mkv", 16)
        (root / f"{i}.txt").write_text(["a red disc", "a blue disc moves", "to the left"][i % 3])
    return root


@pytest.fixture(scope="module")
def words(folder, clips):
    return ["adapter=wan", f"adapter.model={folder}", "adapter.network.dtype=float32", *READER, f"data.root={clips}",
            *LOOP]


@pytest.fixture(scope="module")
def adopted(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("adopted") / "wan.safetensors"
    adopt.main([str(folder), f"out={path}", "adapter.network.dtype=float32", *READER])
    return path


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "style"
    train(composed("train", [*words, f"run={path}"]))
    return path


@pytest.fixture(scope="module")
def pipeline(folder):
    made = diffusers.WanPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def shape(model):
    return model.codec.latent_shape(**SIZE)


def theirs(pipeline, model, steps, scale=5.0, kind="latent"):
    like = Masked(torch.empty(2, model.codec.channels, *shape(model)))
    noise = normal(SEEDS, torch.zeros(2, dtype=torch.long), Purpose.START, like, 0)
    return pipeline(prompt=TEXTS, num_inference_steps=steps, guidance_scale=scale, latents=noise, output_type=kind,
                    num_frames=5, height=32, width=48).frames


def ours(model, pipeline, steps, scale=5.0, sampler=Euler):
    grid = Listed(of_flow(pipeline.scheduler.sigmas))
    return model.latents(ROWS, SEEDS, shape(model), sampler=sampler(steps, grid), guidance=ClassifierFree(scale))


@pytest.mark.parametrize(("steps", "scale"), [(10, 1.0), (10, 5.0), (30, 5.0)])
def test_samples_are_those_of_the_library_s_pipeline(adopted, pipeline, steps, scale):
    model, _ = load_model(adopted)
    found = theirs(pipeline, model, steps, scale)
    assert (found - ours(model, pipeline, steps, scale)).abs().max() < 1e-5 < found.std()


def test_pixels_are_those_of_the_library_s_pipeline(adopted, pipeline):
    model, _ = load_model(adopted)
    latents, found = (theirs(pipeline, model, 4, kind=kind) for kind in ("latent", "pt"))
    made = torch.stack(model.decoded(latents))                        # what is decoded magnifies last digits
    assert (found.transpose(1, 2) * 2 - 1 - made).abs().max() < 1e-5 < found.std()


def test_what_fits_into_a_tile_has_the_bits_of_the_whole_and_more_is_coded_in_tiles(adopted, monkeypatch):
    codec, calls = load_model(adopted)[0].codec, []
    small = Masked(torch.rand(1, 3, 5, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    whole = codec.decode(codec.encode(small)).x
    codec.tiled = True
    assert torch.equal(codec.decode(codec.encode(small)).x, whole)
    for name in ("tiled_encode", "tiled_decode"):
        own = getattr(diffusers.AutoencoderKLWan, name)
        monkeypatch.setattr(diffusers.AutoencoderKLWan, name,
                            lambda *told, own=own, name=name, **more: calls.append(name) or own(*told, **more))
    wide = codec.decode(codec.encode(Masked(torch.zeros(1, 3, 1, 16, 272)))).x
    assert wide.shape == (1, 3, 1, 16, 272) and calls == ["tiled_encode", "tiled_decode"]


def test_the_model_itself_is_judged_by_clips_that_are_named_and_its_marks_are_tested(adopted, clips, tmp_path, capsys):
    judge = tmp_path / "judge.safetensors"
    with pytest.raises(ConfigError, match=r"data.root=FOLDER.*data.captions=true"):
        mark.main(["test", str(adopted), "n=2"])
    words = [str(adopted), f"data.root={clips}", "loader.val=0.8"]
    assert embedder.main([*words, f"out={judge}", "steps=1"]) == 0
    assert "do not tell caption" in capsys.readouterr().out
    words += ["data.captions=true"]
    assert evaluate.main([*words, f"evaluation.embedder={judge}", "evaluation.n=8", "evaluation.references=8",
                          "evaluation.draws=2", "sampler.steps=1", f"out={tmp_path}"]) == 0
    told = json.loads((tmp_path / "report.json").read_text())
    assert {"real", "codec", "model"} <= set(told["rows"]) and told["protocol"]["sampler"]["steps"] == 1
    assert mark.main(["test", *words, "n=2", "seeds=4", "quality=false", "mark.steps=1"]) == 0
    assert (adopted.parent / "wan-marks").is_dir() and "caption" not in capsys.readouterr().out


def test_it_samples_and_learns_where_no_socket_can_be_opened(adopted, words, tmp_path, monkeypatch):
    def refused(*_args, **_options):
        raise AssertionError("a socket is opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)
    model, _ = load_model(adopted)
    assert model.latents(ROWS, SEEDS, shape(model), sampler=Euler(1)).isfinite().all()
    train(composed("train", [*words, f"run={tmp_path}/alone", "trainer.max_steps=1", "validation.every=0"]))
    assert (tmp_path / "alone" / MODEL_FILE).is_file()


def test_samples_of_another_scheduler_are_those_of_the_library_s_pipeline(adopted, pipeline, monkeypatch):
    """UniPC, which starts at 1 - 1e-6 and cuts times to whole numbers."""
    model, _ = load_model(adopted)
    monkeypatch.setattr(pipeline, "scheduler", diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0))
    found, exact = theirs(pipeline, model, 12), WanNetwork._times
    monkeypatch.setattr(WanNetwork, "_times", lambda self, t, x: (exact(self, t, x) + 1e-6).floor())
    ratio = float(torch.exp(-of_flow(pipeline.scheduler.sigmas)[0] / 2))
    model.denoiser.schedule = Until(model.denoiser.schedule, ratio)
    assert (found - ours(model, pipeline, 12, sampler=UniPC)).abs().max() < 1e-5


def test_loss_and_gradient_are_those_of_the_library_s_parts(adopted, pipeline):
    model, _ = load_model(adopted)
    clips = torch.rand(2, 3, 5, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = torch.tensor([5, 9])
    batch = Batch(Masked(clips), {"caption": [*TEXTS]}, draws)
    model.conditioner.drop_all = 0.0
    bias, other = model.network.transformer.proj_out.bias, pipeline.transformer.proj_out.bias
    bias.requires_grad_(), other.requires_grad_()
    with torch.enable_grad():
        loss = model.loss(batch, 0)
        (own,) = torch.autograd.grad(loss.sum(), bias)
        mean, std = (torch.tensor(getattr(pipeline.vae.config, f"latents_{name}")).view(1, -1, 1, 1, 1)
                     for name in ("mean", "std"))
        x0 = (pipeline.vae.encode(clips).latent_dist.mode() - mean) / std
        t = model.draw(batch, 0, batch_size=2).random["t"]
        s = (3 * t / (1 + 2 * t))[:, None, None, None, None]
        eps = normal(0, draws, Purpose.NOISE, Masked(x0))
        told, _ = pipeline.encode_prompt(TEXTS, do_classifier_free_guidance=False, max_sequence_length=512)
        out = pipeline.transformer((1 - s) * x0 + s * eps, 1000 * s.flatten(), told, return_dict=False)[0]
        expected = (out - (eps - x0)).square().flatten(1).mean(1)
        (their,) = torch.autograd.grad(expected.sum(), other)
    bias.requires_grad_(False), other.requires_grad_(False)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(own, their, rtol=1e-4, atol=1e-6)


def test_an_adopted_file_names_the_model_and_holds_none_of_it(adopted, folder, tmp_path, monkeypatch):
    header = read_header(adopted)
    assert adopted.stat().st_size < 4096
    assert set(load_file(adopted)) == {f"codec.{name}" for name in ("mean", "std", "low", "high")}
    (origin,) = header["bases"]
    assert (origin["name"], origin["licence"]) == ("wan", "apache-2.0")
    assert set(header["config"]["adapter"]["public"]["digests"]) == {"vae", "transformer", "text_encoder", "tokenizer"}
    moved = shutil.copytree(folder, tmp_path / "moved")
    pipeline = load(adopted, encoder=moved, device="cpu")
    assert pipeline.size == {name: float(n) for name, n in SIZE.items()}
    file = moved / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "proj_out.bias": tensors["proj_out.bias"] + 1}, file, {"format": "pt"})
    monkeypatch.setattr(public, "_loaded", {})                        # as another process does
    with pytest.raises(ModelFileError, match="transformer is another transformer than this model learned with"):
        load_model(adopted, encoder=moved)


@pytest.mark.parametrize(("part", "name"), [
    ("transformer", "proj_out.bias"), ("text_encoder", "encoder.final_layer_norm.weight"),
])
def test_weights_that_are_not_in_the_folder_are_never_made_up(folder, tmp_path, part, name):
    partial = shutil.copytree(folder, tmp_path / "partial")
    (file,) = (partial / part).glob("*.safetensors")
    save_file({key: value for key, value in load_file(file).items() if key != name}, file, {"format": "pt"})
    made = PromptEncoder(found := public.PublicModel(partial))
    with pytest.raises(ValueError, match=rf"{part} lacks 1 of the weights of \w+, such as {name}"):
        found.load(part, "WanTransformer3DModel") if part == "transformer" else made(["a"], torch.device("cpu"))


def test_weights_of_the_model_are_in_memory_once_and_in_no_file_of_a_run(words, run, tmp_path):
    config, record, _ = opened(tmp_path / "new", composed("train", [*words, f"run={tmp_path / 'new'}"]), None)
    base = base_of(config, record, resumed=False)
    module = assemble(config, tmp_path / "new", record=record, base=base).module
    kept = frozen_tensors(base.model.network)
    for network in (module.model.network, module.averaged.network):
        own = {tensor.data_ptr() for tensor in frozen_tensors(network).values()}
        assert own == {tensor.data_ptr() for tensor in kept.values()}
    assert {name.rpartition(".")[2] for name in load_file(run / MODEL_FILE)} == {"lora_A", "lora_B"}
    assert not [name for name in state(run)["state_dict"] if name.endswith(("original", "bias", "table"))]
    bases = read_header(run / MODEL_FILE)["bases"]
    assert [origin["name"] for origin in bases] == ["base.safetensors", "wan"] and bases[1]["licence"] == "apache-2.0"


def test_a_run_goes_on_to_the_bits_of_the_one_that_was_not_stopped(run, tmp_path):
    part = shutil.copytree(run, tmp_path / "part")
    for path in (part / MODEL_FILE, part / "checkpoints" / "step-000000004.ckpt"):
        path.unlink()
    train(composed("train", [f"run={part}"]), completed("train", [f"run={part}"]))
    assert (part / MODEL_FILE).read_bytes() == (run / MODEL_FILE).read_bytes()


def test_a_change_is_the_same_in_the_library_and_comes_back(adopted, run, pipeline, tmp_path):
    model, plain = load_model(run)[0], theirs(pipeline, load_model(adopted)[0], 5)
    lora.main(["export", str(run), f"out={tmp_path / 'lora'}", "as=diffusers"])
    pipeline.load_lora_weights(tmp_path / "lora")
    try:
        found = theirs(pipeline, model, 5)
    finally:
        pipeline.unload_lora_weights()
    effect = float((found - plain).abs().max())
    assert (found - ours(model, pipeline, 5)).abs().max() < 1e-5 < effect / 10
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    lora.main(["import", str(file), f"base={run / 'base.safetensors'}", f"out={tmp_path / 'back.safetensors'}"])
    again = load_model(run / "base.safetensors", lora={tmp_path / "back.safetensors": 1.0})[0]
    assert torch.equal(ours(again, pipeline, 5), ours(model, pipeline, 5))
    save_file({**load_file(file), "transformer.blocks.9.attn1.to_q.lora_A.weight": torch.zeros(4, 24)}, file)
    with pytest.raises(ConfigError, match=r"1 of \d+ tensors find no layer of this network, such as transformer.bl"):
        lora.main(["import", str(file), f"base={adopted}", f"out={tmp_path / 'other.safetensors'}"])


@pytest.mark.parametrize("said", [{"r": 2, "lora_alpha": 8}, {"r": 2, "lora_alpha": 1, "alpha_pattern": {"to_q": 8}}])
def test_a_change_that_the_library_saved_is_read_with_the_alpha_of_its_header(adopted, tmp_path, said):
    layer = "blocks.0.attn1.to_q"
    theirs = {f"{layer}.lora_A.weight": torch.rand(2, 24), f"{layer}.lora_B.weight": torch.rand(24, 2)}
    diffusers.WanPipeline.save_lora_weights(tmp_path, theirs, transformer_lora_adapter_metadata=said)
    file, out = tmp_path / "pytorch_lora_weights.safetensors", tmp_path / "theirs.safetensors"
    lora.main(["import", str(file), f"base={adopted}", f"out={out}"])
    assert torch.equal(load_file(out)[f"network.transformer.{layer}.lora_B"], 4 * theirs[f"{layer}.lora_B.weight"])


def test_a_student_of_few_calls_is_told_where_it_jumps_and_learns_it(adopted, words, tmp_path):
    own = [word for word in words if not word.startswith(("adapter", "loader.val", "validation"))]
    run = tmp_path / "fast"
    train(composed("train", [*own, f"init={adopted}", "few=paths", "few.n=8", "few.calls=4", "loader.val=0",
                             "optim.warmup=1", f"run={run}"]))
    tensors = load_file(run / MODEL_FILE)
    assert {name.partition(".")[0] for name in tensors} == {"network", "jumps"}
    student, teacher = load_model(run)[0], load_model(adopted)[0]
    told_by_the_vector(teacher, shape, ROWS)
    one = [student.latents(ROWS, SEEDS, shape(student), sampler=Jump(1), guidance=Distilled(scale))
           for scale in (1.0, 3.0)]
    assert (one[0] - one[1]).abs().max() > 1e-4, "it does not know by what scale it is guided"


@pytest.fixture(scope="module")
def cache(words, tmp_path_factory):
    """Latents and captions, kept."""
    out = tmp_path_factory.mktemp("cache") / "latents"
    encode.main([*(word for word in words if not word.startswith(tuple(w.partition("=")[0] for w in LOOP[1:]))),
                 f"out={out}"])
    return out


@pytest.mark.parametrize(("dtype", "kinds"), [
    ("bfloat16", {torch.bfloat16}), ("int8", {torch.int8, torch.bfloat16, torch.float32}),
])
def test_a_base_of_few_bits_learns_from_a_cache_alone_and_to_the_same_bits_with_less_memory(
    words, cache, tmp_path, monkeypatch, dtype, kinds
):
    opened, load_part = [], public.PublicModel.load
    monkeypatch.setattr(public.PublicModel, "load",
                        lambda self, part, *rest: opened.append(part) or load_part(self, part, *rest))
    monkeypatch.setattr(public.PublicModel, "checked", lambda self, part: opened.append(part) or self.folder(part))
    own = [word for word in words if not word.startswith(("adapter.network.dtype", "data."))]
    for name, less in (("plain", []), ("again", ["recompute=1"]), ("host", ["recompute=1", "offload=true"])):
        train(composed("train", [*own, "data=latents", f"data.root={cache}", f"run={tmp_path / name}", *less,
                                 f"adapter.network.dtype={dtype}", "trainer.max_steps=2"]))
    assert set(opened) <= {"transformer", "tokenizer"}
    plain, *others = (load_file(tmp_path / name / MODEL_FILE) for name in ("plain", "again", "host"))
    assert all(torch.equal(value, other[name]) for other in others for name, value in plain.items())
    assert {value.dtype for value in plain.values()} == {torch.float32}
    layer = load_model(tmp_path / "plain")[0].network.transformer.blocks[0].attn1.to_q
    assert {parameter.dtype for parameter in layer.parameters()} == kinds, "8 bits have no place for a change"


def test_two_processes_with_a_part_of_the_model_each_go_on_and_learn_what_one_learns_in_two_parts(words, tmp_path):
    """Of weights in 8 bits, with which the network computes in 16: there, what is summed in another order turns last
    digits, of gradients near 0 too, by whose size Adam divides."""
    own = [*(word for word in words if not word.startswith(("trainer=", "adapter.network.dtype"))),
           "adapter.network.dtype=int8", "validation.every=0", "optim.clip=0"]
    part, one = tmp_path / "part", tmp_path / "one"
    Job("train", *own, "trainer=fsdp_cpu", f"run={part}", world=2, fault=killed_after(3), output=tmp_path).wait(-9)
    Job("train", f"run={part}", world=2, output=tmp_path).wait()
    train(composed("train", [*own, "trainer=cpu", "++trainer.accumulate_grad_batches=2", f"run={one}"]))
    both = load_file(part / MODEL_FILE)
    for name, tensor in load_file(one / MODEL_FILE).items():
        assert (both[name] - tensor).norm() <= 0.01 * tensor.norm(), name
    names = contents(part / "checkpoints" / "step-000000004.ckpt").state_dict_metadata
    assert not [name for name in names if "original" in name or name.endswith(("proj_out.bias", "scale_shift_table"))]


def test_a_run_is_a_folder_to_share_with_a_card(run, adopted, folder, pipeline, tmp_path):
    assert export.main([str(run), "as=mmdiff", f"out={tmp_path / 'made'}"]) == 0
    there = shutil.move(tmp_path / "made", tmp_path / "there")
    model = load(there, device="cpu", encoder=folder).model
    assert torch.equal(ours(model, pipeline, 2), ours(load_model(run)[0], pipeline, 2))
    about = {"license": "apache-2.0", "library_name": "mmdiff", "base_model": "wan", "base_model_relation": "adapter",
             "pipeline_tag": "text-to-video", "tags": ["mmdiff", "video", "lora"]}
    assert card(there) == about
    assert export.main([str(run), "as=diffusers", f"out={tmp_path / 'lora'}"]) == 0
    lora.main(["export", str(run), f"out={tmp_path / 'same'}", "as=diffusers"])
    name = "pytorch_lora_weights.safetensors"
    assert (tmp_path / "lora" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert card(tmp_path / "lora")["library_name"] == "diffusers"
    with pytest.raises(ConfigError, match="is a whole model, and no change of one"):
        export.main([str(adopted), "as=diffusers", f"out={tmp_path / 'none'}"])


def card(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_a_run_that_was_killed_goes_on_by_the_same_words_and_with_a_folder_that_has_moved(words, folder, run, tmp_path):
    part, moved = shutil.copytree(run, tmp_path / "part"), shutil.copytree(folder, tmp_path / "moved")
    for path in (part / MODEL_FILE, part / "checkpoints" / "step-000000004.ckpt"):
        path.unlink()
    again = [*words, f"run={part}", f"adapter.model={moved}"]
    train(composed("train", again), completed("train", again))
    made, whole = load_file(part / MODEL_FILE), load_file(run / MODEL_FILE)
    assert made.keys() == whole.keys() and all(torch.equal(value, whole[name]) for name, value in made.items())


def test_a_file_of_low_precision_never_holds_the_weights_of_a_public_model(adopted, tmp_path):
    with pytest.raises(ConfigError, match="whose weights stay in its folder: adopt that with"):
        export.main([str(adopted), "as=model", "precision=int8", f"out={tmp_path / 'low.safetensors'}"])


@pytest.mark.parametrize(("changed", "told"), [
    (["trainer=gpu"], "trainer: No supported gpu backend found"),
    (["lora=null"], "the weights of a public model stay as they are: give the change that learns a rank"),
    (["diffusion/parameterization=velocity"], "learned to put out what Difference is, and Velocity reads it as"),
    (["data.pattern=(?P<kind>.)", "data.labels=[kind]"], "is told one text, and the data tell caption, kind"),
    (["adapter.model=/nowhere"], "/nowhere has no folder vae, as diffusers' save_pretrained writes it"),
])
def test_what_cannot_be_is_refused_with_what_can(words, tmp_path, changed, told):
    with pytest.raises(ValueError, match=told):
        train(composed("train", [*words, f"run={tmp_path / 'run'}", *changed]))


def test_a_part_of_another_class_is_refused_by_name(folder, tmp_path):
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    shutil.copy(folder / "vae" / "config.json", mixed / "transformer")
    with pytest.raises(ValueError, match="transformer/config.json is of AutoencoderKLWan, and this adapter takes Wan"):
        adopt.main([str(mixed), f"out={tmp_path / 'wan.safetensors'}"])


def test_a_folder_of_another_pipeline_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ConfigError, match="is a FluxPipeline, and the adapters here read WanPipeline"):
        adopt.main([str(tmp_path), f"out={tmp_path / 'flux.safetensors'}"])
    with pytest.raises(ConfigError, match="has no model_index.json that names its pipeline"):
        adopt.main([str(tmp_path / "none"), f"out={tmp_path / 'none.safetensors'}"])


class TestContract(PublicContract):
    adapter = "wan"

    @pytest.fixture(scope="class")
    def trial(self, words, tmp_path_factory):
        own = [word for word in words[1:] if not word.startswith(("adapter.reader", "loader.val"))]
        sizes = ["adapter.reader.frames=21", "adapter.reader.height=16", "adapter.reader.width=16"]
        return Trial("wan", [*own, *sizes], tmp_path_factory.mktemp("trial"))


def test_a_model_file_gives_its_codec_to_a_network_of_our_own_as_a_reference(adopted, folder, tmp_path):
    words = ["adapter=video_small", f"codec={adopted}", *READER, "adapter.network.dim=48", "adapter.network.depth=1",
             "adapter.network.heads=2", "adapter.network.patch=[1,16,16]", "adapter.conditioner.dim=16", "data=shapes",
             "data.n=8", "data.frames=5", "data.fps=16", *LOOP[3:], "trainer.max_steps=1", "validation.every=0"]
    train(composed("train", [*words, f"run={tmp_path}/own"]))
    model, header = load_model(tmp_path / "own")
    assert type(model.codec) is WanCodec and type(model.network) is not WanNetwork
    adapter, there = (found["config"]["adapter"] for found in (header, read_header(adopted)))
    assert adapter["model"] == str(folder)
    assert adapter["public"]["digests"] == {"vae": there["public"]["digests"]["vae"]}
    with pytest.raises(ConfigError, match="names one already"):
        composed("train", ["adapter=video_wan", f"adapter.model={folder}", f"codec={adopted}"])


class TestCodecAlone(PublicCodecContract):
    """Its autoencoder is the codec of a network of our own."""

    adapter = "video_wan"
    lossy = 1.0                                                       # an autoencoder that has learned nothing

    @pytest.fixture(scope="class")
    def trial(self, folder, tmp_path_factory):
        alone = shutil.copytree(folder / "vae", tmp_path_factory.mktemp("codec") / "vae")
        own = [f"adapter.model={alone}", "adapter.reader.frames=9", "adapter.reader.height=32",
               "adapter.reader.width=32", "adapter.network.dim=48", "adapter.network.depth=1",
               "adapter.network.heads=2", "adapter.conditioner.dim=16", "data.n=8", "data.frames=9",
               "data.fps=16"]
        return Trial("video_wan", own, tmp_path_factory.mktemp("trial"))
