"""The corners of OBJ faces against a loop over their words."""

from hypothesis import example, given
from hypothesis import strategies as st

from mrd_hf.models.obj_text import MISSING, parse_obj


NUM_VERTICES = 8
HEAD = "".join(f"v {n} {n * n} 0\n" for n in range(NUM_VERTICES)) + "vt 0 0\n" * NUM_VERTICES + "vn 0 0 1\n"
BARE, WITH_UV, WITH_NORMAL, WHOLE = "{v}", "{v}/{t}", "{v}//1", "{v}/{t}/1"
indices = st.integers(1, NUM_VERTICES)
corners = st.tuples(st.sampled_from([BARE, WITH_UV, WITH_NORMAL, WHOLE, "{v}/", "{v}//"]), indices, indices)
faces = st.lists(st.lists(corners, min_size=3, max_size=5), min_size=1, max_size=6)


def face(form: str, *vertices: int) -> list[tuple[str, int, int]]:
    return [(form, vertex, 1) for vertex in vertices]


@given(faces)
# As many slashes, and as many numbers, as if all corners were of one kind.
@example([face(BARE, 1, 2, 3, 4), face(WHOLE, 5, 6, 7, 8)])
@example([face(WHOLE, 1, 2, 3), face(BARE, 4, 5, 6)])
@example([[(BARE, 1, 1), (WHOLE, 2, 3), (WITH_UV, 4, 5)]])
@example([face(WITH_NORMAL, 1, 2, 3), face(WHOLE, 4, 5, 6)])
def test_corners_of_all_kinds_in_one_file(written):
    lines = ["f " + " ".join(form.format(v=v, t=t) for form, v, t in corners) for corners in written]
    text = parse_obj((HEAD + "\n".join(lines)).encode())
    expected = [[v - 1, t - 1 if "{t}" in form else MISSING] for corners in written for form, v, t in corners]
    assert text.corners.tolist() == expected
    assert text.sizes.tolist() == [len(corners) for corners in written]
