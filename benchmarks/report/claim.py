"""The paper's claim of a conversion over 300× faster than prior methods, held against what has been measured."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.report.markdown import NOT_MEASURED, image_time, ratio, significant, table
from benchmarks.report.rows import Results, Row, speed_up

#: Milliseconds an image in the paper's table 2: ODG and I2E (on a GPU) at 224×224, I2E at 128×128.
_ODG, _I2E, _I2E_SMALL = 29.47, 0.1, 0.03
_CLAIMED = 300
_PUBLISHED = "the published formulation"
_METHODS = {
    _PUBLISHED: {"method": "published", "input": "uint8"},
    "this package, uint8 → float32": {"method": "ours", "input": "uint8", "format": "float32"},
    "this package, uint8 → bool": {"method": "ours", "input": "uint8", "format": "bool"},
}


def claim(results: Results) -> Iterator[str]:
    """What is claimed, what is measured, and what follows."""
    yield (
        "**Claimed** (Ma et al., abstract and table 2): I2E converts over 300× faster than prior methods. ODG, the "
        f"method of ES-ImageNet, takes {_ODG} ms an image of 224×224; I2E takes {_I2E} ms on a GPU, which makes "
        f"{significant(_ODG / _I2E)}×, and {_I2E_SMALL} ms at 128×128, which makes {significant(_ODG / _I2E_SMALL)}× "
        "for a third of the pixels."
    )
    yield "**Measured**, an image of 224×224, and how many times as fast as ODG on the same device:"
    body = []
    for device in results.devices():
        odg = _race(results, device, method="ODG")
        body.append([f"{device}: ODG", image_time(odg), ""])
        for name, row in _contenders(results, device).items():
            body.append([f"{device}: {name}", image_time(row), ratio(odg, row)])
    if not results.devices("cuda"):
        body.append(["on a GPU", NOT_MEASURED, NOT_MEASURED])
    yield table(["", "time an image", "ODG over it"], body)
    yield "**What follows.** " + " ".join(_conclusions(results))


def _conclusions(results: Results) -> Iterator[str]:
    for device in results.devices():
        odg = _race(results, device, method="ODG")
        found = _contenders(results, device)
        if odg is None or None in found.values():
            yield f"{device}: {NOT_MEASURED} in full."
            continue
        verdicts = [_verdict(name, speed_up(odg, row)) for name, row in found.items() if row]
        yield f"On {device}: {'; '.join(verdicts)}."
    if not results.devices("cuda"):
        yield f"The claim is of a GPU, where it is {NOT_MEASURED}: on a CPU it can be neither upheld nor refuted."


def _contenders(results: Results, device: str) -> dict[str, Row | None]:
    """Rows of the methods that are held against ODG; the published one as PyTorch starts, on a GPU with tf32."""
    found = {name: _race(results, device, **case) for name, case in _METHODS.items()}
    if device in results.devices("cuda"):
        found[_PUBLISHED] = _race(results, device, method="published, tf32", input="uint8")
    return found


def _verdict(name: str, times: float) -> str:
    if times < 1:
        return f"{name} is {significant(1 / times)}× slower than ODG"
    verb = "reaches" if times >= _CLAIMED else "does not reach"
    return f"{name} is {significant(times)}× as fast as ODG and {verb} {_CLAIMED}×"


def _race(results: Results, device: str, **case: str) -> Row | None:
    return results.find(device, "races", content="photographs", **case)
