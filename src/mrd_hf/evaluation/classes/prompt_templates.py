"""Prompt templates that turn a class name into texts a teacher has seen the like of."""

SIMPLE_TEMPLATES = (
    "{}",
    "a {}.",
    "a photo of a {}.",
    "a picture of one {}.",
    "a 3D model of a {}.",
    "a rendering of a {}.",
    "a {} on a plain background.",
    "an object known as a {}.",
)

# The 64 of ULIP and OpenShape: those of ViLD (arXiv 2104.13921), and a first one for point clouds. One of them lacks
# its full stop there, and so it does here.
OPENSHAPE_TEMPLATES = (
    "a point cloud model of {}.",
    *(f"There is {article} {{}} in the scene." for article in ("a", "the")),
    *(f"a photo of {article} {{}} in the scene." for article in ("a", "the", "one")),
    *(f"itap of {article} {{}}." for article in ("a", "my", "the")),
    *(f"a photo of {article} {{}}." for article in ("a", "my", "the", "one", "many")),
    *(f"a {kind} photo of {article} {{}}." for kind in ("good", "bad") for article in ("a", "the")),
    *(
        f"a photo of {article} {looks} {{}}."
        for looks in ("nice", "cool", "weird", "small", "large", "clean", "dirty", "hard to see")
        for article in ("a", "the")
    ),
    *(
        f"a {kind} photo of {article} {{}}."
        for kind in (
            "bright",
            "dark",
            "low resolution",
            "cropped",
            "close-up",
            "jpeg corrupted",
            "blurry",
            "pixelated",
        )
        for article in ("a", "the")
    ),
    "a black and white photo of the {}.",
    "a black and white photo of a {}",
    *(f"{article} {kind} {{}}." for kind in ("plastic", "toy", "plushie", "cartoon") for article in ("a", "the")),
    *(f"{article} embroidered {{}}." for article in ("an", "the")),
    *(f"a painting of {article} {{}}." for article in ("the", "a")),
)

# What CLIP's authors give for a first try.
CLIP_TEMPLATES = ("a photo of a {}.",)

# By the names that scripts have for them; `none` leaves texts as they are.
TEMPLATES = {
    "none": ("{}",),
    "clip": CLIP_TEMPLATES,
    "simple": SIMPLE_TEMPLATES,
    "openshape64": OPENSHAPE_TEMPLATES,
}
