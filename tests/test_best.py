"""The best guess, and guidance put into weights (chapter 10)."""
import pytest, torch

import spritediff as sd
from spritediff.ddpm import look
from spritediff.evaluation import absorb_guidance, best_guess, figures, fit_colours, guided_task
from spritediff.training import noise_errors, noised_batch


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
    x_t, network = sd.perturb_input(x_0, t, torch.randn(x_0.shape, generator=sd.make_generator(t))), sd.load_pretrained("plain", "cpu")
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


@pytest.mark.parametrize("guidance", (3., torch.tensor([1., 2, 3, 4, 2.5])))
def test_guided_task_by_hand(guidance):
    "The answer is what `look` makes of the teacher, the question that of `noised_batch`"
    model, schedule, (images, labels) = sd.load_pretrained("plain", "cpu"), sd.linear_schedule(), sd.make_sprites(20, 0, "train")
    x_t, t, c, eps, weight = guided_task(model, guidance, sd.to_x(images), sd.one_hot(labels), schedule, sd.make_generator(3))
    asked = noised_batch(sd.to_x(images), sd.one_hot(labels), schedule, sd.make_generator(3), emphasis="late")
    assert all(torch.equal(a, b) for a, b in zip((x_t, t, c, weight), (*asked[:3], asked[4])))
    assert (c.sum(1) == 0).any() and (c.sum(1) == 1).any()
    for i in range(20):
        g = guidance if isinstance(guidance, float) else guidance[labels[i]].item()
        with torch.no_grad(): expected = look(model, x_t[i:i + 1], t[i].item(), schedule, c[i:i + 1], g).eps_hat
        torch.testing.assert_close(eps[i:i + 1], expected, atol=1e-4, rtol=0)


def test_a_network_absorbs_guidance():
    "After few steps its answers are nearer to the guided ones of the teacher, and those without context hardly move"
    images, labels = sd.make_sprites(300, 0, "train")
    def run(**kwargs):
        settings = {**dict(guidance=4., batch_size=40, n_steps=20, device="cpu", progress=False, ema_decay=.5), **kwargs}
        return absorb_guidance(sd.load_pretrained("plain", "cpu"), images, labels, **settings)
    state, teacher = run(), sd.load_pretrained("plain", "cpu")
    task = guided_task(teacher, 4., sd.to_x(images[:100]), sd.one_hot(labels[:100]), sd.linear_schedule(), sd.make_generator(5))
    told = task[2].sum(1) > 0
    def errors(model):
        with torch.no_grad(): each = noise_errors(model, 500, *task)
        return each[told].mean().item(), each[~told].mean().item()
    (before, nothing), (after, drift) = errors(teacher), errors(state.ema)
    assert state.step == 20 and after < .8 * before and nothing < 1e-6 and drift < .3 * before
    a, b, c = (run(n_steps=2, seed=seed).ema.state_dict().values() for seed in (0, 0, 1))
    assert all(torch.equal(p, q) for p, q in zip(a, b)) and not all(torch.equal(p, q) for p, q in zip(a, c))
    for (name, old), new in zip(teacher.state_dict().items(), state.ema.state_dict().values()): # batch norm's averages stay
        assert torch.equal(old, new) == ("running" in name or "num_batches" in name), name
    one, each = run(n_steps=2, guidance=2), run(n_steps=2, guidance=[2, 2., 2, 2, 2]) # one number stands for all classes
    assert all(torch.equal(p, q) for p, q in zip(one.ema.state_dict().values(), each.ema.state_dict().values()))


def test_bad_input():
    x, model = torch.zeros(2, 3, 16, 16), sd.load_pretrained("plain", "cpu")
    for run, word in ((lambda: figures(5), "label"), (lambda: best_guess(x[:, :1], 3, figures(2)), "x_t has the shape"),
                      (lambda: best_guess(x, 501, figures(2)), "t is"), (lambda: best_guess(x, [1, 2, 3], figures(2)), "3 entries"),
                      (lambda: absorb_guidance(model, *sd.make_sprites(5), .5), "guidance"), (lambda: absorb_guidance(model, *sd.make_sprites(5), [2, 2, .5, 2, 2]), "guidance is 0.5"),
                      (lambda: absorb_guidance(model, *sd.make_sprites(5), [2, 3]), "2 entries"), (lambda: absorb_guidance(model, *sd.make_sprites(5), n_steps=0), "n_steps"),
                      (lambda: absorb_guidance(model, *sd.make_sprites(5), lr=-1), "lr"), (lambda: absorb_guidance(model, torch.zeros(5), [0]), "images")):
        with pytest.raises(sd.InputError, match=word): run()
