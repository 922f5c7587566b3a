"""Times, as ratios within one run, of this package against plainer versions and against diffusers.

    python tests/benchmark.py           print the table
    python tests/benchmark.py FILE      write it as JSON too
"""
import copy, json, statistics, sys, time

import torch

import spritediff as sd
from spritediff.ddpm import set_up
from spritediff.core import hardware
from spritediff.sprites import index_map
from spritediff.training import diffusion_loss


def seconds(function, runs=5):
    "Median time of `runs` calls, after one that is not counted"
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def network(model, x_T):
    "One evaluation of the network for 32 sprites"
    with torch.no_grad(): model(x_T, .5)


def training_step(memory_format, mixed=False):
    "A function that does one training step of 100 sprites"
    model = sd.ContextUnet(3, 64, 5, 16).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    images, labels = sd.make_sprites(100)
    x_0, context, generator = sd.to_x(images).contiguous(memory_format=memory_format), sd.one_hot(labels), sd.make_generator(0)
    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = diffusion_loss(model, x_0, context, sd.linear_schedule(), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step


def diffusers_ddim(model, x_T, n=25):
    "DDIM of diffusers around the same network"
    from diffusers import DDIMScheduler
    scheduler = DDIMScheduler(500, trained_betas=sd.linear_schedule().beta[1:].tolist(), clip_sample=False,
                              timestep_spacing="trailing", set_alpha_to_one=True)
    scheduler.set_timesteps(n)
    x_t = x_T
    with torch.no_grad():
        for t in scheduler.timesteps: x_t = scheduler.step(model(x_t, (t + 1) / 500), t, x_t).prev_sample
    return x_t


def uncached_sprites():
    "200 sprites, each figure drawn anew"
    for i in range(200):
        index_map.cache_clear()
        sd.sprites.make_sprites(1, seed=i)


def main():
    torch.manual_seed(0)
    x_T, model, *_ = set_up(32, seed=0, device="cpu")
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    few = lambda: sd.sample_ddim(32, n=25, model=model, seed=0)
    sd.make_sprites(20_000)
    pairs = { # what: (ours, the other)
        "network evaluation, batch 32: channels_last / plain": (lambda: network(model, x_T), lambda: network(plain, x_T)),
        "training step, batch 100: channels_last / plain": (training_step(torch.channels_last), training_step(torch.contiguous_format)),
        "training step, batch 100: bfloat16 / float32": (training_step(torch.channels_last, True), training_step(torch.channels_last)),
        "32 sprites by DDIM 25: ours / diffusers' scheduler": (few, lambda: diffusers_ddim(model, x_T)),
        "32 sprites: DDIM 25 / DDPM 500": (few, lambda: sd.sample_ddpm(32, model=model, seed=0)),
        "200 sprites drawn: figures kept / drawn anew": (lambda: sd.make_sprites(200), uncached_sprites),
    }
    rows = []
    for what, (ours, other) in pairs.items():
        a, b = (seconds(f, runs=1 if "DDPM" in what and f is other else 5) for f in (ours, other))
        rows.append(dict(what=what, ours=round(a, 4), other=round(b, 4), ratio=round(a / b, 3)))
        print(f"{what:55s} {a:8.4f} s {b:8.4f} s   ratio {a / b:.3f}", flush=True)
    if len(sys.argv) > 1:
        facts = dict(command=f"python tests/benchmark.py {sys.argv[1]}", hardware=hardware("cpu"), torch=torch.__version__,
                     date=time.strftime("%Y-%m-%d"), rows=rows)
        with open(sys.argv[1], "w") as f: f.write(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__": main()
