"""Tiny instances of public models, of the real classes and randomly initialised, as ``save_pretrained`` writes them."""

from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "red", "blue", "disc", "square", "drum", "deep", "short", "moves", "fast", "slowly", "to", "the", "left"]
CARD = "---\nlicense: apache-2.0\nlibrary_name: diffusers\n---\n# A tiny model\n"


def tokenizer(length: int = 512) -> Any:
    """A tokenizer of ``WORDS``."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length
    )


def woken(module: torch.nn.Module) -> Any:
    """No parameter of the module is left at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def wan(folder: Path, *, seed: int = 0) -> Path:
    """Wan 2.1, text to video: 2 blocks, latents x 4 x 8 x 8."""
    import diffusers
    import transformers

    torch.manual_seed(seed)
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=24, freq_dim=16,
        ffn_dim=32, num_layers=2, rope_max_seq_len=64,
    )
    vae = diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[0.5, 0.8, 1.1, 0.7],
    )
    text = transformers.UMT5EncoderModel(transformers.UMT5Config(
        vocab_size=3 + len(WORDS), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=3, pad_token_id=0,
    ))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline = diffusers.WanPipeline(
        tokenizer=tokenizer(), text_encoder=woken(text), vae=woken(vae), scheduler=scheduler,
        transformer=woken(transformer),
    )
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def wan_ti2v(folder: Path, *, seed: int = 0) -> Path:
    """Wan 2.2, text and picture to video: 2 blocks, latents x 4 x 16 x 16, a time for each token."""
    import diffusers

    source = diffusers.WanPipeline.from_pretrained(wan(folder, seed=seed))
    vae = diffusers.AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True,
        in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16,
        latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[0.5, 0.8, 1.1, 0.7],
    )
    diffusers.WanPipeline(**{**source.components, "vae": woken(vae)}, expand_timesteps=True).save_pretrained(folder)
    return folder


def stable_audio(folder: Path, *, seed: int = 0) -> Path:
    """Stable Audio Open: 2 blocks, stereo at 8 kHz, latents of 16 samples, windows of 24."""
    import diffusers
    import transformers

    torch.manual_seed(seed)
    transformer = diffusers.StableAudioDiTModel(
        sample_size=24, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        num_key_value_attention_heads=1, out_channels=4, cross_attention_dim=12, time_proj_dim=8,
        global_states_input_dim=48, cross_attention_input_dim=24,
    )
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[4, 4], channel_multiples=[1, 2], decoder_channels=4,
        decoder_input_channels=4, audio_channels=2, sampling_rate=8000,
    )
    text = transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=3 + len(WORDS), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=3, pad_token_id=0,
    ))
    projection = diffusers.StableAudioProjectionModel(
        text_encoder_dim=24, conditioning_dim=24, min_value=0, max_value=512,
    )
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=500, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction",
    )
    pipeline = diffusers.StableAudioPipeline(
        vae=woken(vae), text_encoder=woken(text), projection_model=woken(projection), tokenizer=tokenizer(128),
        transformer=woken(transformer), scheduler=scheduler,
    )
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text(CARD.replace("apache-2.0", "other\nlicense_name: stable-audio-community"))
    return folder


def dac(folder: Path, *, seed: int = 0) -> Path:
    """DAC at 8 kHz: 16 channels for 16 samples."""
    import transformers

    torch.manual_seed(seed)
    woken(transformers.DacModel(transformers.DacConfig(
        encoder_hidden_size=4, downsampling_ratios=[4, 4], decoder_hidden_size=16, n_codebooks=2, codebook_size=16,
        codebook_dim=4, sampling_rate=8000,
    ))).save_pretrained(folder)
    return folder


def mimi(folder: Path, *, seed: int = 0) -> Path:
    """Mimi at 8 kHz: 16 channels for 32 samples."""
    import transformers

    torch.manual_seed(seed)
    woken(transformers.MimiModel(transformers.MimiConfig(
        sampling_rate=8000, frame_rate=250, hidden_size=16, num_filters=4, upsampling_ratios=[4, 4], codebook_size=16,
        codebook_dim=8, num_quantizers=2, vector_quantization_hidden_dimension=8, upsample_groups=16,
        num_hidden_layers=1, intermediate_size=32, num_attention_heads=2, num_key_value_heads=2,
    ))).save_pretrained(folder)
    return folder


def t5(width: int = 24) -> Any:
    """A text encoder of ``WORDS``, one layer."""
    import transformers

    return woken(transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=3 + len(WORDS), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=3, pad_token_id=0,
    )))


def ltx(folder: Path, *, seed: int = 0) -> Path:
    """LTX-Video: 2 blocks, latents x 4 x 8 x 8, a decoder that is told a time."""
    import diffusers

    torch.manual_seed(seed)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24,
        num_layers=2, caption_channels=24,
    )
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(4, 4, 4, 4), decoder_block_out_channels=(4, 4, 4, 4),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False), decoder_spatio_temporal_scaling=(True, True, False, False),
        timestep_conditioning=True, patch_size=2, scaling_factor=0.9,
    )
    vae.latents_mean.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
    vae.latents_std.copy_(torch.tensor([0.5, 0.8, 1.1, 0.7]))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096,
        shift_terminal=0.1,
    )
    diffusers.LTXPipeline(
        scheduler=scheduler, vae=woken(vae), text_encoder=t5(), tokenizer=tokenizer(128),
        transformer=woken(transformer),
    ).save_pretrained(folder)
    (folder / "README.md").write_text(CARD.replace("apache-2.0", "other\nlicense_name: ltx-video"))
    return folder


def cogvideox(folder: Path, *, seed: int = 0, turned: bool = True) -> Path:
    """CogVideoX: 2 blocks, latents x 4 x 8 x 8; with positions that are ``turned``, as those of 5B."""
    import diffusers

    torch.manual_seed(seed)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=8,
        text_embed_dim=24, num_layers=2, sample_width=8, sample_height=8, sample_frames=9, max_text_seq_length=16,
        use_rotary_positional_embeddings=turned,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2, sample_height=32,
        sample_width=32, scaling_factor=0.7,
    )
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=3.0, timestep_spacing="trailing",
        clip_sample=False,
    )
    diffusers.CogVideoXPipeline(
        tokenizer=tokenizer(226), text_encoder=t5(), vae=woken(vae), transformer=woken(transformer),
        scheduler=scheduler,
    ).save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def ace_step(folder: Path, *, seed: int = 0) -> Path:
    """ACE-Step 1.5: 2 blocks, stereo at 8 kHz, latents of 160 samples."""
    import diffusers
    import transformers
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(seed)
    shared = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
              "head_dim": 8, "sliding_window": 4}
    transformer = diffusers.AceStepTransformer1DModel(
        **shared, num_hidden_layers=2, in_channels=12, audio_acoustic_hidden_dim=4,
    )
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[8, 20], channel_multiples=[1, 2], decoder_channels=4,
        decoder_input_channels=4, audio_channels=2, sampling_rate=8000,
    )
    reader = woken(AceStepConditionEncoder(
        **shared, text_hidden_dim=24, timbre_hidden_dim=4, num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=1,
    ))
    reader.silence_latent.normal_()
    text = transformers.Qwen3Model(transformers.Qwen3Config(
        vocab_size=3 + len(WORDS), hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    ))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    diffusers.AceStepPipeline(
        vae=woken(vae), text_encoder=woken(text), tokenizer=tokenizer(), transformer=woken(transformer),
        condition_encoder=reader, scheduler=scheduler,
    ).save_pretrained(folder)
    (folder / "README.md").write_text(CARD.replace("apache-2.0", "mit"))
    return folder
