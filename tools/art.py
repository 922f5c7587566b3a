"""The site's icon and the card that links to it show, made of generated sprites: nbs/favicon.png and nbs/card.png.

    python tools/art.py
"""
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import spritediff as sd

NBS = Path(__file__).resolve().parents[1]/"nbs"
ICON = 16  # which of the sprites
CARD = 1200, 630  # the size that social networks ask for
INK, PAPER = "#1f2429", "#ffffff"


def sprites():
    "The sixty sprites of the first page, with transparent backgrounds: uint8 (60, 16, 16, 4)"
    samples, _ = sd.sample_ddim_context(60, torch.eye(5).repeat_interleave(12, 0), n=25, eta=1, guidance=2,
                                        seed=1, device="cpu")
    return sd.finish(samples, colours=16)


def enlarged(sprite, scale):
    "`sprite` with each pixel as a square of `scale`: no smoothing"
    return Image.fromarray(np.kron(sprite, np.ones((scale, scale, 1), np.uint8)))


def card(pictures, words, scale=5, step=96):
    "Sprites in rows of twelve above the title and a line of `words`"
    image = Image.new("RGB", CARD, PAPER)
    left = (CARD[0] - 11 * step - 16 * scale) // 2
    for i, sprite in enumerate(pictures):
        shown = enlarged(sprite, scale)
        image.paste(shown, (left + i % 12 * step, 28 + i // 12 * step), shown)
    draw = ImageDraw.Draw(image)
    draw.text((left, 515), "spritediff", fill=INK, font=ImageFont.load_default(56))
    draw.text((left, 583), words, fill=INK, font=ImageFont.load_default(27))
    return image


def main():
    pictures = sprites()
    enlarged(pictures[ICON], 4).save(NBS/"favicon.png", optimize=True)
    words = "How diffusion models work, by building one that generates 16x16 game sprites"
    card(pictures, words).quantize(128, dither=Image.Dither.NONE).save(NBS/"card.png", optimize=True)


if __name__ == "__main__": main()
