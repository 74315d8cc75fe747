"""Real spoken digits above generated ones of the same digit and speaker, as one picture.

    python scripts/fsdd/sheet.py --data RECORDINGS --generated DIR --out PICTURE.png
"""

import argparse
from pathlib import Path

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.evaluation.generated import generated

SHOWN = [("0", "george"), ("1", "jackson"), ("3", "lucas"), ("5", "nicolas"), ("7", "theo"), ("9", "yweweler")]


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    reader = AudioReader(8000, seconds=0.768, pad="silence", peak=0.9)
    clips = generated(options.generated, suffix=".wav", fields=("digit", "speaker"))
    made = {tuple(str(clip.facts["labels"][k]) for k in ("digit", "speaker")): clip.path for clip in reversed(clips)}
    paths = [options.data / f"{digit}_{speaker}_0.wav" for digit, speaker in SHOWN] + [made[key] for key in SHOWN]
    titles = [f"{kind}: {digit}, {speaker}" for kind in ("real", "generated") for digit, speaker in SHOWN]
    MelCodec("speech_8k_48").preview([reader.read(path) for path in paths], titles, options.out)


if __name__ == "__main__":
    main()
