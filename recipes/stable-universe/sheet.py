"""A sheet of pictures for prompts that were not used while the model was tuned, each with its words below it."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sfumato import Studio, Txt2ImgRequest

SIDE, LINE, COLUMNS = 128, 26, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="stable-universe")
    parser.add_argument("--prompts", type=Path, default=Path(__file__).parent / "held_out.txt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    prompts = args.prompts.read_text().splitlines()
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(prompts) // COLUMNS) * (SIDE + LINE)), "white")
    pen, font, studio = ImageDraw.Draw(sheet), ImageFont.load_default(10), Studio(args.model)
    for k, prompt in enumerate(prompts):
        request = Txt2ImgRequest(prompt=prompt, seed=k, steps=args.steps, width=256, height=256)
        left, top = k % COLUMNS * SIDE, k // COLUMNS * (SIDE + LINE)
        sheet.paste(studio.generate(request).images[0].resize((SIDE, SIDE)), (left, top))
        words, line = prompt.split(), 0
        while words:
            count = next(
                (n for n in range(len(words), 1, -1) if pen.textlength(" ".join(words[:n]), font) < SIDE - 4), 1
            )
            pen.text((left + 2, top + SIDE + line * 12), " ".join(words[:count]), "black", font)
            words, line = words[count:], line + 1
    sheet.save(args.output)


if __name__ == "__main__":
    main()
