"""Synthetic TorchScript models whose cost is known: what a scheduler is measured with.

Their rows are independent: a row's answer is the same alone and in company, whatever the others
hold. The work is many small steps, so that one OpenMP thread does it as well as several.
"""

import pathlib
import time

import torch
import yaml

WIDTH = 4  # Features of a row.
CLASSES = 3
SIZE = 64  # Of the matrices that are multiplied to pass the time.
TOKENS, HIDDEN, HEADS, LAYERS, WORDS = 128, 128, 2, 2, 1000


def _contraction() -> torch.Tensor:
    """Multiplied and squashed again and again, numbers stay away from infinity and denormals."""
    return torch.eye(SIZE) + 0.01 * torch.ones(SIZE, SIZE) / SIZE


class Tiny(torch.nn.Module):
    """Next to no work."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class FixedCost(torch.nn.Module):
    """Costs the same for one row and for many: what profits most from batches."""

    def __init__(self, rounds: int):
        super().__init__()
        self.rounds = rounds
        self.layer = torch.nn.Linear(WIDTH, CLASSES)
        self.register_buffer("matrix", _contraction())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Of the size, so that freezing cannot work it out; not of the values, which may be NaN.
        work = self.matrix + 0.0 * x.size(0)
        for _ in range(self.rounds):
            work = torch.tanh(torch.mm(work, self.matrix))
        return self.layer(x) + 0.0 * work[0, 0]


class CostPerRow(torch.nn.Module):
    """Costs as much again for every row: what gains nothing from batches."""

    def __init__(self, rounds: int):
        super().__init__()
        self.rounds = rounds
        self.layer = torch.nn.Linear(WIDTH, CLASSES)
        self.register_buffer("matrix", _contraction())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        work = torch.zeros(1)
        for _ in range(x.size(0)):
            work = self.matrix + 0.0 * x.size(0)
            for _ in range(self.rounds):
                work = torch.tanh(torch.mm(work, self.matrix))
        return self.layer(x) + 0.0 * work.max()


class Block(torch.nn.Module):
    """A layer of a BERT-like encoder."""

    def __init__(self):
        super().__init__()
        self.heads, self.width = HEADS, HIDDEN // HEADS  # TorchScript sees no globals.
        self.in_projection = torch.nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out_projection = torch.nn.Linear(HIDDEN, HIDDEN)
        self.feed_forward = torch.nn.Sequential(
            torch.nn.Linear(HIDDEN, 4 * HIDDEN), torch.nn.GELU(),
            torch.nn.Linear(4 * HIDDEN, HIDDEN))
        self.norm_attention = torch.nn.LayerNorm(HIDDEN)
        self.norm_forward = torch.nn.LayerNorm(HIDDEN)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        rows, tokens = hidden.size(0), hidden.size(1)
        split = self.in_projection(hidden).view(rows, tokens, 3, self.heads, self.width)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.matmul(query, key.transpose(-1, -2)) / self.width ** 0.5
        mixed = torch.matmul(torch.softmax(scores + bias, dim=-1), value)
        mixed = mixed.transpose(1, 2).reshape(hidden.shape)
        hidden = self.norm_attention(hidden + self.out_projection(mixed))
        return self.norm_forward(hidden + self.feed_forward(hidden))


class Encoder(torch.nn.Module):
    """BERT's shape, small, with random weights. Requires: token numbers below WORDS."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(WORDS, HIDDEN)
        self.positions = torch.nn.Parameter(torch.randn(TOKENS, HIDDEN))
        self.blocks = torch.nn.ModuleList([Block() for _ in range(LAYERS)])
        self.classify = torch.nn.Linear(HIDDEN, CLASSES)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.words(input_ids) + self.positions
        bias = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -10000.0
        for block in self.blocks:
            hidden = block(hidden, bias)
        return self.classify(hidden[:, 0])


def _input(name: str, data_type: str, size: int) -> dict:
    return {"name": name, "data_type": data_type, "shape": [size]}


def _add(repository: pathlib.Path, name: str, model, inputs: list, config: dict) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    torch.jit.script(model.eval()).save(str(folder / "1" / "model.pt"))
    (folder / "model.yaml").write_text(yaml.safe_dump({"inputs": inputs, **config}))


def _made(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments)


def rounds_for(milliseconds: float) -> int:
    """How many rounds of FixedCost, or of CostPerRow for one row, take so long on one thread here.
    The time served differs by some percent, so whoever divides by it measures it there."""
    trial_rounds, row = 2000, torch.ones(1, WIDTH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = torch.jit.freeze(torch.jit.script(_made(FixedCost, trial_rounds).eval()))
        seconds = []
        with torch.inference_mode():
            for _ in range(8):  # The first few compile.
                begin = time.perf_counter()
                model(row)
                seconds.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return max(1, round(trial_rounds * milliseconds / 1e3 / min(seconds)))


# Each writes a model to a repository; `config` are more lines for its model.yaml.


def add_tiny(repository: pathlib.Path, name: str = "tiny", **config) -> None:
    _add(repository, name, _made(Tiny), [_input("x", "float32", WIDTH)], config)


def add_fixed_cost(repository: pathlib.Path, name: str = "fixed", milliseconds: float = 10,
                   **config) -> None:
    model = _made(FixedCost, rounds_for(milliseconds))
    _add(repository, name, model, [_input("x", "float32", WIDTH)], config)


def add_cost_per_row(repository: pathlib.Path, name: str = "per-row", milliseconds: float = 2,
                     **config) -> None:
    model = _made(CostPerRow, rounds_for(milliseconds))
    _add(repository, name, model, [_input("x", "float32", WIDTH)], config)


def add_encoder(repository: pathlib.Path, name: str = "encoder", **config) -> None:
    inputs = [_input("input_ids", "int64", TOKENS), _input("attention_mask", "int64", TOKENS)]
    _add(repository, name, _made(Encoder), inputs, config)
