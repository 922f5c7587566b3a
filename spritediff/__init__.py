"""How diffusion models work, by building one that generates 16x16 game sprites."""
__version__ = "0.0.1"

from importlib import import_module

# Public names and the modules that define them. A module is imported when one of its names is first used.
_MODULES = {
    "core": ("InputError", "available_devices", "default_device", "make_generator", "repeatable"),
    "sprites": ("CLASSES", "SIZE", "make_sprites", "to_x", "to_images", "one_hot", "CustomDataset",
                "split_groups", "balance"),
    "viz": ("sheet", "show_images", "plot_grid", "plot_sample", "frame_sheets", "save_png", "save_gif", "scrubber", "align_steps", "figure_picture"),
    "schedule": ("NoiseSchedule", "linear_schedule", "cosine_schedule", "perturb_input"),
    "unet": ("ContextUnet", "load_course_checkpoint"),
    "training": ("train", "train_steps", "TrainingRun", "TrainingState", "diffusion_loss", "ema_update"),
    "ddpm": ("Step", "predict_x_0", "denoise_add_noise", "posterior", "ddpm_steps", "sample_ddpm", "sample_ddpm_context", "sample_ddpm_incorrect"),
    "ddim": ("denoise_ddim", "ddim_times", "ddim_steps", "sample_ddim", "sample_ddim_context"),
    "dpm": ("denoise_dpm", "dpm_steps", "sample_dpm", "sample_dpm_context"),
    "conditioning": ("context", "parse_context"),
    "evaluation": ("evaluate", "Yardstick", "make_yardstick", "Judge", "train_judge", "load_judge", "frechet_distance",
                   "precision_recall", "nearest_sprites"),
    "finishing": ("finish", "lay_on"),
    "generation": ("generate", "load_pretrained", "save_pretrained", "load_weights", "save_weights"),
    "mixing": ("context_mixer",),
    "exporting": ("save_atlas", "load_atlas", "save_animation", "palette_of", "to_palette", "save_palette", "load_palette",
                  "export_sprites", "export_onnx"),
    "own": ("load_sprites", "SpriteSet", "save_npz"),
    "runs": ("train_sprites",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOME)
_WHOLE = ("check",) # modules that are used as such: sd.check.NAME


def __getattr__(name):
    if name in _WHOLE: return import_module(f"{__name__}.{name}")
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__(): return sorted(globals().keys() | _HOME.keys() | set(_WHOLE))
