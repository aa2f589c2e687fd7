"""A plan that fails while it serves: the saved model answers, and whoever looks learns of it."""

import harness
import pytest
import torch
import wire
import yaml
from test_plans import reports


class Branches(torch.nn.Module):
    """Large rows are viewed by another order of memory than channels_last leaves them in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layer = torch.nn.Conv2d(3, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.layer(x)
        if bool(x.max() > 400):
            return hidden.view([hidden.size(0), -1])[:, :4]
        return hidden.flatten(1)[:, :4]


class Overflows(torch.nn.Module):
    """What is between its layers is beyond 65504 for a row of hundreds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 100.0 * 100.0 / 10000.0


def _add(repository, name, module, shape, plan) -> None:
    (repository / name / "1").mkdir(parents=True)
    torch.jit.script(module.eval()).save(str(repository / name / "1" / "model.pt"))
    inputs = [{"name": "x", "data_type": "float32", "shape": shape}]
    (repository / name / "model.yaml").write_text(
        yaml.safe_dump({"inputs": inputs, "softmax": False, "plan": plan}))


def _answer(daemon, name, shape, value) -> list:
    row = wire.tensor(torch.full(shape, float(value)).numpy())
    return list(wire.probabilities(daemon.classify(name, wire.tensors(row), softmax=False).results[0]))


@pytest.mark.parametrize("module, shape, plan, reason", [
    (Branches(), [3, 8, 8], "channels_last", "view size is not compatible"),
    (Overflows(), [4], "fp16", "its scores are not numbers where the saved model's are"),
])
def test_a_failed_plan_is_named_where_one_looks(module, shape, plan, reason, tmp_path):
    repository = tmp_path / "models"
    _add(repository, "failing", module, shape, plan)
    with harness.serving(tmp_path, repository, "--plan-seconds-max", 60, "--plan-cache", "") as own:
        said = reports(own)["failing"]
        assert (said["plan"], said["fallbacks"]) == (plan, 0)
        assert said["why"] == "the model's configuration says so"
        # One that changes answers is compared though nothing is chosen.
        compared = {one["plan"]: one["state"] for one in said["candidates"]}
        assert compared == ({"frozen": "timed", "fp16": "timed"} if plan == "fp16" else {})
        if plan == "fp16":
            assert 0 < said["candidates"][1]["difference"] < 0.01
        for value in (1, 500, 1):
            with torch.inference_mode():
                expected = module(torch.full([1, *shape], float(value)))[0].tolist()
            assert _answer(own, "failing", shape, value) == pytest.approx(expected, rel=1e-3, abs=1e-3)
        said = reports(own)["failing"]
        assert (said["plan"], said["fallbacks"]) == ("saved", 1)
        assert said["why"].startswith(f"'{plan}' (the model's configuration says so") and reason in said["why"]
        (line,) = [one for one in own.log().splitlines() if "plan failed" in one]
        assert f"plan failed, model runs as saved model=failing version=1 plan={plan} " in line
        assert reason in line
        _, page = own.get("/metrics")
        assert 'torchd_plan_fallbacks_total{model="failing",version="1"} 1' in page
