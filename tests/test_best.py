"""The best guess, and learning from a network's own states (chapter 10)."""
import pytest, torch

import spritediff as sd
from spritediff.evaluation import best_guess, figures, fit_colours, own_task, repair


@pytest.fixture(scope="module")
def sprites():
    images, labels = sd.make_sprites(100, 31, "held-out")
    return sd.to_x(images), torch.as_tensor(labels)


@pytest.mark.parametrize("label", range(5))
def test_figures_are_whole_and_sum_to_one(label):
    kinds = figures(label)
    assert torch.cat([log_p for _, log_p, _ in kinds]).exp().sum().item() == pytest.approx(1, abs=1e-5)
    for masks, log_p, regions in kinds:
        assert masks.shape[1:] == (21, 256) and len(masks) == len(log_p)
        assert (masks.sum(1) == 1).all() # every pixel has one position in the palette
        named, used = [i for rows, _ in regions for i in range(21)[rows]], masks.sum((0, 2)).nonzero().flatten().tolist()
        assert len(set(named)) == len(named) and set(used) <= set(named) # each used position has its colours, once
        assert all(colours.abs().max() <= 1 for _, colours in regions)


@pytest.mark.parametrize("label", range(5))
def test_nearly_clean_sprites_are_found(sprites, label):
    "So every drawn sprite is among the figures and their colours."
    x_0 = sprites[0][sprites[1] == label]
    x_t = sd.perturb_input(x_0, 2, torch.randn(x_0.shape, generator=sd.make_generator(2)))
    assert (best_guess(x_t, 2, figures(label)) - x_0).abs().max() < .04 # two colours may differ by so little


@pytest.mark.parametrize("t", (100, 200, 300, 400))
def test_nothing_is_better(sprites, t):
    "The network, the truth mixed with it, and other mixtures have a larger error."
    x_0, labels = sprites
    x_t, network = sd.perturb_input(x_0, t, torch.randn(x_0.shape, generator=sd.make_generator(t))), sd.load_pretrained(device="cpu")
    best = torch.empty_like(x_0)
    for k in range(5): best[labels == k] = best_guess(x_t[labels == k], t, figures(k))
    with torch.no_grad(): guess = sd.predict_x_0(x_t, t, network(x_t, t / 500, sd.one_hot(labels)))
    error = lambda x: (x - x_0).square().mean()
    for other in (guess, (guess + best) / 2, .95 * best, best + .1 * (guess - best)): assert error(best) < error(other)


def test_steps_one_each(sprites):
    x_t, kinds = sprites[0][sprites[1] == 2][:3] + .1, figures(2)
    together = best_guess(x_t, [50, 200, 450], kinds)
    for i, t in enumerate((50, 200, 450)): torch.testing.assert_close(together[i:i + 1], best_guess(x_t[i:i + 1], t, kinds), atol=1e-4, rtol=0)


def test_at_the_end_it_is_the_mean_of_the_class():
    "Where x_t tells nothing the guess is what `draw` makes on average."
    images, labels = sd.make_sprites(5000, 5)
    mean = sd.to_x(images[labels == 3]).mean(0)
    guess = best_guess(torch.zeros(1, 3, 16, 16), 1, figures(3), sd.NoiseSchedule.from_beta([1 - 1e-9]))
    assert (guess - mean).abs().mean() < .02


def test_fit_colours_by_hand():
    "One figure, one pixel of one tone, two colours: the weights of two Gaussians."
    x, colours, alpha_bar = torch.tensor([.3, -.2, .1]), torch.tensor([[[1., 0, 0]], [[0, 1, 0.]]]), torch.tensor([.5])
    fit, mean = fit_colours(x.view(1, 1, 1, 3), torch.ones(1, 1), colours, alpha_bar)
    far = (x - alpha_bar.sqrt() * colours[:, 0]).square().sum(1)
    weight = (-far / (2 * (1 - alpha_bar))).softmax(0)
    torch.testing.assert_close(mean[0, 0, 0], weight @ colours[:, 0])
    expected = (-far / (2 * (1 - alpha_bar))).exp().mean().log() + x.square().sum() / (2 * (1 - alpha_bar))
    torch.testing.assert_close(fit[0], expected)


def test_own_task_is_what_it_says():
    model, schedule = sd.load_pretrained(device="cpu"), sd.linear_schedule()
    x_t, t, c, eps, weight = own_task(model, 10, schedule, sd.make_generator(3))
    assert t.unique().tolist() == [20, 40, 60, 80, 100, 120, 140] and len(x_t) == 70
    labels = c.argmax(1)
    assert (labels == torch.arange(70) % 5).all()
    alpha_bar = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    x_0_hat = (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    for k in range(5): torch.testing.assert_close(x_0_hat[labels == k], best_guess(x_t[labels == k], t[labels == k], figures(k)), atol=2e-3, rtol=0)
    torch.testing.assert_close(weight, 10 * (1 / schedule.alpha_bar[t] - 1))
    sampled = sd.sample_ddim_context(10, c[:10], 25, model=model, seed=sd.make_generator(3), device="cpu")[1]
    assert t[0] == 140 # the 18th of the steps below 500
    torch.testing.assert_close(x_t[:10], torch.as_tensor(sampled[17]).float(), atol=1e-4, rtol=0)
    again = own_task(model, 10, schedule, sd.make_generator(3))
    assert all(torch.equal(a, b) for a, b in zip((x_t, t, c, eps, weight), again))


def test_repair_learns_from_its_own_states():
    images, labels = sd.make_sprites(200, 0, "train")
    def run(rounds, **kwargs): return repair(sd.load_pretrained(device="cpu"), images, labels, rounds, 10, device="cpu", **kwargs)
    seen = []
    state = run(8, after=lambda r, s: seen.append((r, s.step)), ema_decay=.5)
    assert seen == [(r, 3 * (r + 1)) for r in range(8)] # 2 x 70 states, 50 at a time
    def error(model):
        x_t, t, c, eps, weight = own_task(model, 20, sd.linear_schedule(), sd.make_generator(5))
        with torch.no_grad(): return (weight * (model(x_t, t / 500, c) - eps).square().flatten(1).mean(1)).mean().item()
    assert error(state.ema) < .85 * error(sd.load_pretrained(device="cpu"))
    a, b, c = run(1), run(1), run(1, seed=1)
    same = lambda x, y: all(torch.equal(p, q) for p, q in zip(x.ema.state_dict().values(), y.ema.state_dict().values()))
    assert same(a, b) and not same(a, c)


def test_bad_input():
    x, model = torch.zeros(2, 3, 16, 16), sd.load_pretrained(device="cpu")
    for run, word in ((lambda: figures(5), "label"), (lambda: best_guess(x[:, :1], 3, figures(2)), "x_t has the shape"),
                      (lambda: best_guess(x, 501, figures(2)), "t is"), (lambda: best_guess(x, [1, 2, 3], figures(2)), "3 entries"),
                      (lambda: own_task(model, 7, sd.linear_schedule(), sd.make_generator(0)), "multiple of 5"),
                      (lambda: repair(model, *sd.make_sprites(5), 0), "n_round"), (lambda: repair(model, *sd.make_sprites(5), 1, lr=-1), "lr")):
        with pytest.raises(sd.InputError, match=word): run()
    other = sd.ContextUnet(3, 8, 2, 16, classes=("cat", "dog"))
    with pytest.raises(sd.InputError, match="cat, dog"): repair(other, *sd.make_sprites(5), 1)
