import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ops import chain, size
from service.ops.catalogue import OPS, Op
from service.ops.models import Convert, Resize
from service.ops.registry import MAX_KEY_LENGTH, OpKeyError, catalogue, parse
from service.ops.values import encode, escape, unescape
from tests.ops.strategies import TEXT_ALPHABET, chains, valid_steps
from tests.support import examples

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789._-:+#"


BOTH = {
    *("bgremove-v1", "bgremove-v2", "blurbg-v1", "compose-v1", "compose-v2"),
    *("compress-v1", "convert-v1", "pad-v1"),
}
BEHIND_FLATTEN = {*BOTH, "flatten-v1"}
"""Ops that the background is laid before, where it is asked for first."""
OF_ANY_SIZE = {*BOTH, "shadow-v1", "shadow-v2", "crop-v1", "smartcrop-v1", "trim-v1"}
"""Ops behind which the size of a picture is not known for sure."""


def joined(steps: list[list[str]]) -> str:
    return "+".join(":".join(parts) for parts in steps)


def outcome(text: str) -> str:
    """The canonical key, or the sentence that refuses (it has spaces, a key never has)."""
    try:
        return parse(text).key
    except OpKeyError as error:
        return error.detail


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("compose-v2:light-spot:scene-gradient:shadow-none", "compose-v2:scene-gradient:shadow-none"),
        ("compose-v2:light-spot:scene-gradient", "compose-v2:light-spot:scene-gradient"),
        ("resize-v1:width-0800", "resize-v1:width-800"),
        ("resize-v1:width-800.0", "resize-v1:width-800"),
        ("resize-v1:width-800:height-600", "resize-v1:height-600:width-800"),
        ("resize-v1:width-800:upscale-false", "resize-v1:width-800"),
        ("resize-v1:width-800:fit-cover", "resize-v1:width-800"),
        ("flatten-v1:color-#fff", "flatten-v1"),
        ("flatten-v1:color-f00", "flatten-v1:color-red"),
        ("flatten-v1:color-#12ab34", "flatten-v1:color-12ab34"),
        ("convert-v1:format-png:quality-30", "convert-v1:format-png"),
        ("convert-v1:format-png:lossless-true", "convert-v1:format-png"),
        ("convert-v1:format-jpeg:quality-85", "convert-v1:format-jpeg"),
        ("convert-v1:format-avif:quality-85", "convert-v1:format-avif:quality-85"),
        ("convert-v1:lossless-true:quality-50", "convert-v1:lossless-true"),
        ("convert-v1:quality-080.0", "convert-v1:quality-80"),
        ("convert-v1:quality-auto:format-jpeg", "convert-v1:format-jpeg:quality-auto"),
        ("convert-v1:format-png:quality-auto", "convert-v1:format-png"),
        ("convert-v1:format-jpeg:progressive-true", "convert-v1:format-jpeg"),
        ("convert-v1:format-png:progressive-true", "convert-v1:format-png:progressive-true"),
        ("convert-v1:format-png:progressive-false", "convert-v1:format-png"),
        ("convert-v1:progressive-false", "convert-v1"),
        ("compress-v1:format-jpeg:progressive-false", "compress-v1:format-jpeg:progressive-false"),
        ("crop-v1:aspect-32x18", "crop-v1:aspect-16x9"),
        ("crop-v1:width-5:height-6:x-3", "crop-v1:height-6:width-5:x-3:y-0"),
        ("crop-v1:width-5:height-6:x-0:y-0", "crop-v1:gravity-northwest:height-6:width-5"),
        ("shadow-v1:y--0.50:x--0", "shadow-v1:y--0.5"),
        ("shadow-v1:blur-0", "shadow-v1:kind-hard"),
        ("shadow-v1:kind-hard:blur-7", "shadow-v1:kind-hard"),
        ("shadow-v1:kind-contact:x-9:y-9", "shadow-v1:kind-contact"),
        ("upscale-v1:factor-02", "upscale-v1"),
        ("watermark-v1:text-a__:position-north:tiled-true", "watermark-v1:text-a:tiled-true"),
        ("watermark-v1:text-a:tiled-true:angle-30", "watermark-v1:text-a:tiled-true"),
        ("watermark-v1:text-_.41.", "watermark-v1:text-_a"),
        ("compose-v1:style-plain:horizon-50:floor-red", "compose-v1:style-plain"),
        ("compose-v1:style-gradient:floor-white", "compose-v1:style-plain"),
        ("compose-v1:floor-e0e0e0", "compose-v1"),
        # chains
        ("bgremove-v1+flatten-v1:color-white+shadow-v1", "bgremove-v1+shadow-v1+flatten-v1"),
        ("flatten-v1:color-red+flatten-v1:color-blue", "flatten-v1:color-red"),
        ("bgremove-v1+flatten-v1+compose-v1", "bgremove-v1+flatten-v1+compose-v1"),
        ("bgremove-v2+compose-v1", "compose-v1"),
        ("bgremove-v1+compose-v1", "bgremove-v1+compose-v1"),
        ("bgremove-v1:tolerance-20+compose-v1", "bgremove-v1:tolerance-20+compose-v1"),
        ("bgremove-v1+bgremove-v1", "bgremove-v1"),
        ("resize-v1:width-9+resize-v1:width-9", "resize-v1:width-9"),
        ("upscale-v1+upscale-v1", "upscale-v1+upscale-v1"),
        ("resize-v1:width-9+convert-v1", "resize-v1:width-9"),
        ("convert-v1", "convert-v1"),
        ("bgremove-v1+flatten-v1+convert-v1:format-jpeg", "bgremove-v1+convert-v1:format-jpeg"),
        ("flatten-v1:color-red+convert-v1:format-jpeg", "flatten-v1:color-red+convert-v1:format-jpeg"),
    ],
)
def test_equal_pixels_have_one_key(written: str, canonical: str) -> None:
    assert parse(written).key == canonical
    assert parse(canonical).key == canonical


@pytest.mark.parametrize(
    ("key", "code", "detail"),
    [
        ("", "bad_op_key", "is empty"),
        ("resize", "bad_op_key", "a step is name-v1"),
        ("resize-v0:width-3", "bad_op_key", "a step is name-v1"),
        ("resize-v1:width-3+", "bad_op_key", "step 2 is ''"),
        ("resize-v1:width", "bad_op_key", "'width' in resize-v1 is not param-value, such as width-800"),
        ("resize-v1:width-3:", "bad_op_key", "'' in resize-v1"),
        ("RESIZE-v1:width-3", "bad_op_key", "character 'R' at 0"),
        ("resize-v1:width-３", "bad_op_key", "is not allowed"),
        ("sharpen-v1", "unknown_op", "there is no op sharpen-v1; there is bgremove-v2"),
        ("resize-v2:width-3", "unknown_op", "there is resize-v1"),
        (
            "resize-v1:w-3",
            "bad_parameter",
            "unknown parameter 'w' for resize-v1; it takes width, height, fit, upscale",
        ),
        ("resize-v1:width-3:width-3", "bad_parameter", "given twice"),
        ("resize-v1", "bad_parameter", "resize-v1: give width, height or both"),
        (
            "resize-v1:width-9999",
            "bad_parameter",
            "width of resize-v1: input should be less than or equal to 8192",
        ),
        ("resize-v1:width-0", "bad_parameter", "greater than or equal to 1"),
        ("resize-v1:width-1.5", "bad_parameter", "not a whole number"),
        ("resize-v1:width-1_0", "bad_parameter", "not a number"),
        ("resize-v1:width-nan", "bad_parameter", "not a number"),
        ("resize-v1:width-5:upscale-yes", "bad_parameter", "neither true nor false"),
        (
            "resize-v1:width-5:fit-wide",
            "bad_parameter",
            "fit of resize-v1: input should be 'inside', 'contain'",
        ),
        ("flatten-v1:color-purpel", "bad_parameter", "'purpel' is not a colour"),
        ("shadow-v1:blur-0.25", "bad_parameter", "at most one decimal"),
        ("crop-v1:aspect-1x1:width-3:height-3", "bad_parameter", "either aspect or width and height"),
        ("crop-v1:width-3", "bad_parameter", "both width and height"),
        ("crop-v1:width-3:height-3:x-1:gravity-north", "bad_parameter", "either x and y or gravity"),
        ("crop-v1:aspect-0x4", "bad_parameter", "1 to 100"),
        ("watermark-v1", "bad_parameter", "text of watermark-v1: field required"),
        ("watermark-v1:text-__", "bad_parameter", "1 to 48 characters"),
        ("watermark-v1:text-_.e9.", "bad_parameter", "all that the font has"),
        ("watermark-v1:text-_9", "bad_parameter", "is not escaped text"),
        ("watermark-v1:text-_.110000.", "bad_parameter", "not a code point"),
        (
            "enhance-v1:levels-false:balance-false:contrast-0:saturation-0:sharpen-0",
            "bad_parameter",
            "nothing would change",
        ),
        ("convert-v1:format-jpeg:lossless-true", "bad_parameter", "no lossless form"),
        ("convert-v1+resize-v1:width-3", "bad_op_key", "must be the last step"),
        ("compress-v1+convert-v1", "bad_op_key", "must be the last step"),
        ("+".join(["flatten-v1"] * 9), "bad_op_key", "at most 8 are allowed"),
        ("resize-v1:width-" + "0" * 600, "bad_op_key", "at most 512 are allowed"),
    ],
)
def test_refusals_say_what_is_wrong(key: str, code: str, detail: str) -> None:
    with pytest.raises(OpKeyError) as caught:
        parse(key)
    assert caught.value.code == code
    assert detail in caught.value.detail


def test_error_says_where() -> None:
    with pytest.raises(OpKeyError) as caught:
        parse("flatten-v1+resize-v1:width-0")
    assert (caught.value.step, caught.value.parameter) == (1, "width")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    assert outcome(text)


@settings(deadline=None)
@given(st.text(ALPHABET, max_size=40))
def test_any_tail_is_parsed_or_refused(tail: str) -> None:
    for head in (
        "resize-v1:width-",
        "watermark-v1:text-",
        "flatten-v1:color-",
        "crop-v1:aspect-",
        "shadow-v1:x-",
    ):
        key = outcome(head + tail)
        assert outcome(key) == key or " " in key


@settings(max_examples=examples(300), deadline=None)
@given(chains())
def test_canonical_is_a_fixed_point(steps: list[list[str]]) -> None:
    chain = parse(joined(steps))
    again = parse(chain.key)
    assert again.key == chain.key
    assert again.steps == chain.steps
    assert re.fullmatch(r"[a-z0-9._:+-]+", chain.key)
    assert len(chain.key) <= MAX_KEY_LENGTH


@settings(max_examples=examples(200), deadline=None)
@given(valid_steps())
def test_order_of_parameters_means_nothing(parts: list[str]) -> None:
    head, *rest = parts
    assert parse(":".join([head, *reversed(rest)])).key == parse(":".join(parts)).key


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.key)
def test_writing_out_a_default_means_nothing(op: Op) -> None:
    base = next(step for step in parse(op.examples[0]).steps if step.op is op)
    params = base.params
    for name, field in op.parameters.model_fields.items():
        if field.is_required() or field.default is None or getattr(params, name) != field.default:
            continue
        assert parse(f"{base.key}:{name}-{encode(field, field.default)}").key == base.key


@settings(deadline=None)
@given(st.text(TEXT_ALPHABET, max_size=30))
def test_escape_is_reversible(text: str) -> None:
    written = escape(text)
    assert re.fullmatch(r"[a-z0-9._-]*", written)
    assert unescape(written) == text


def test_escape_reads_well() -> None:
    assert escape("Darkroom © 24") == "_darkroom___.a9.__24"


def test_examples_parse_and_schemas_describe_every_parameter() -> None:
    ops = catalogue()
    names = {op.name for op in ops}
    assert names >= {"bgremove", "compose", "flatten", "shadow", "enhance", "upscale", "resize", "crop"}
    assert names >= {"watermark", "convert", "compress"}
    for op in ops:
        assert op.examples
        for example in op.examples:
            assert any(step.op is op for step in parse(example).steps) or example.startswith(op.key)
        for name, schema in op.schema["properties"].items():
            assert {"title", "description", "type"} <= schema.keys(), (op.key, name)
            if schema["type"] in ("integer", "number") and "enum" not in schema:
                assert {"minimum", "maximum"} <= schema.keys(), (op.key, name)
        assert op.schema["additionalProperties"] is False


def test_chain_sums_up_its_steps() -> None:
    chain = parse("bgremove-v1+resize-v1:width-800+convert-v1:format-png")
    assert [step.op.key for step in chain.steps] == ["bgremove-v1", "resize-v1", "convert-v1"]
    assert chain.steps[1].params == Resize(width=800)
    assert chain.steps[2].params == Convert(format="png")
    assert (chain.price, chain.cacheable) == (0, "always")


def test_each_op_is_considered_where_chains_are_simplified_and_measured() -> None:
    """A new op has its place in service/ops/chain.py and size.py, or in the lists above."""
    assert {op.key for op in OPS if op.parameters not in chain._BEFORE_FLATTEN} == BEHIND_FLATTEN
    assert {op.key for op in OPS if op.parameters not in size._OF_KNOWN_SIZE} == OF_ANY_SIZE
