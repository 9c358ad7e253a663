"""The fine-tuning recipe, from codes to a model that speaks, on a toy."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from safetensors.torch import load_file

from neucodec_tts import TextToSpeech
from neucodec_tts.prompts import SpeechConfig
from tests.assets import ASSETS
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RECIPE = EXAMPLES / "finetune"
CODES = 256


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch):
    """The recipe's main module, as `python finetune.py` would import it."""
    monkeypatch.syspath_prepend(str(RECIPE))
    names = {path.stem for path in RECIPE.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("finetune")
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small codec, recordings with their texts, and a data set of babble in the codec's codes."""
    folder = tmp_path_factory.mktemp("finetune")
    config = small_config()
    config.quantization_levels = (4, 4, 4, 4)
    random_codec(config).save_pretrained(folder / "codec")
    samples, rate = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    (folder / "recordings").mkdir()
    for number in range(40):
        clip = samples[number * 3000 :][: rate // 2 + 500 * number]
        soundfile.write(folder / "recordings" / f"{number}.wav", clip, rate)
        (folder / "recordings" / f"{number}.txt").write_text(f"Number {number}, read aloud.")
    sys.path.insert(0, str(EXAMPLES))
    sentences = importlib.import_module("extend_qwen").babble(100, 4, seed=1)
    sys.path.remove(str(EXAMPLES))
    write_data(
        folder / "data",
        id=[f"babble/{number}" for number in range(100)],
        text=[text for text, _ in sentences],
        codes=pa.array([codes for _, codes in sentences], pa.list_(pa.uint16())),
        speaker=["ann" if number % 2 else "bob" for number in range(100)],
    )
    return folder


@pytest.fixture(scope="module")
def base(work: Path) -> Path:
    """The model that `--from-config small` starts from, with its codes."""
    sys.path.insert(0, str(RECIPE))
    importlib.import_module("small_model").save_random_model("small", work / "random", seed=0)
    sys.path.remove(str(RECIPE))
    command = ["extend-vocab", str(work / "random"), "--output", str(work / "base"), "--layout", "vocab"]
    command += ["--codec", str(work / "codec")]
    subprocess.run([sys.executable, "-m", "neucodec_tts", *command, "-q"], check=True)
    config = SpeechConfig.read(work / "base" / "speech_config.json").to_dict()
    del config["language"]
    SpeechConfig.from_dict({**config, "prompt_format": "neutts-text"}).save(work / "base")
    return work / "base"


def write_data(folder: Path, **columns: object) -> None:
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "data" / "train-00000-of-00001.parquet")


def arguments(work: Path, out: Path, *more: str, data: str = "data") -> list[str]:
    shared = [
        "--data",
        str(work / data),
        "--codec",
        str(work / "codec"),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    shared += ["--max-length", "256", "--batch", "4", "--lr", "3e-3", "--warmup", "3", "--log-every", "5"]
    return [*shared, *more]


KILL = """
import os, signal, sys
sys.path.insert(0, {recipe!r})
import learning
import finetune

def die(self, args, state, control, **_):
    if state.global_step == 14:
        os.kill(os.getpid(), signal.SIGKILL)

learning.Report.on_step_end = die
finetune.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_it_learns_and_speaks_and_survives_a_kill(
    recipe: ModuleType, work: Path, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """From recordings. Killed at step 14 and run again, it ends with the weights of a run that was left alone."""
    steps = ["--steps", "30", "--save-every", "6"]
    killed = arguments(work, tmp_path / "killed", "--from-config", "small", "--format", "neutts-text", *steps)
    killed[killed.index("--data") : 2] = [str(work / "recordings")]
    run = subprocess.run([sys.executable, "-c", KILL.format(recipe=str(RECIPE)), *killed], check=False)
    assert run.returncode == -signal.SIGKILL
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-12", "checkpoint-6"]
    (checkpoints / "checkpoint-18").mkdir()  # as if killed while it was written
    (checkpoints / "checkpoint-18" / "model.safetensors").write_bytes(b"half")
    capfd.readouterr()

    result = recipe.main(killed)
    said = capfd.readouterr().out
    assert "prepared" not in said, "the recordings are not encoded again"
    assert "checkpoint-18 is not whole" in said
    assert "going on from" in said
    assert "checkpoint-12\n" in said
    assert "step 15 of 30" in said
    assert "step 10 of 30" not in said
    assert "% less; it has learnt" in said
    assert result["learnt"]
    assert result["loss_after"] < 0.8 * result["loss_before"]

    (work / "prepared").symlink_to(tmp_path / "killed" / "data")
    alone = arguments(work, tmp_path / "alone", "--model", str(base), *steps, "--speak", "0", data="prepared")
    assert recipe.main(alone)["loss_after"] == result["loss_after"]
    weights = [tmp_path / name / "model" / "model.safetensors" for name in ("killed", "alone")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    assert recipe.main(killed) == result
    assert "this is done already" in capfd.readouterr().out
    (tmp_path / "alone" / "result.json").unlink()
    with pytest.raises(SystemExit, match=r"lr was 0.003 and is now 0.1"):
        recipe.main([*alone, "--lr", "0.1"])

    spoken = [item["id"] for item in result["spoken"]]
    assert len(spoken) == 4
    sounds = {path.name for path in (tmp_path / "killed" / "speech").iterdir()}
    assert sounds == {f"{id}{kind}.wav" for id in spoken for kind in ("", ".recorded")}
    model = tmp_path / "killed" / "model"
    config = SpeechConfig.read(model / "speech_config.json")
    assert (config.prompt_format, config.context_length) == ("neutts-text", 256)
    speech = TextToSpeech.from_pretrained(model).speak("abc", seed=1)
    assert np.isfinite(speech.samples).all()
    assert json.loads((model / "config.json").read_text())["use_cache"]


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_muon_in_float32_goes_where_torchs_goes(
    recipe: ModuleType, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """Upstream orthogonalises in bfloat16, so that its steps are the same but for less than a hundredth."""
    import torch

    monkeypatch.setattr(importlib.import_module("muon"), "has_bfloat16", lambda: False)
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    how: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    made = (importlib.import_module("muon").Muon([ours], **how), torch.optim.Muon([theirs], **how))
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in made:
            optimizer.step()
    moved = (theirs - 1).norm()
    assert 0 < (ours - theirs).norm() < 0.01 * moved
    assert {name for optimizer in made for name in optimizer.state_dict()["state"][0]} == {"momentum_buffer"}


@pytest.mark.parametrize("counted", [False, True])
def test_the_loss_in_pieces_is_the_models_own(
    recipe: ModuleType, counted: bool, monkeypatch: pytest.MonkeyPatch
):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    pieces = sys.modules["spoken_loss"]
    monkeypatch.setitem(pieces.NUMBERS, "cpu", 7 * 300)  # seven rows at a time
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
    }
    for tied in (False, True):
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, tie_word_embeddings=tied))
        ids = torch.randint(300, (3, 20))
        labels = ids.clone()
        labels[:, :5] = labels[0, 12:] = -100
        found = []
        ours = pieces.LossInPieces(model)
        assert ours.is_the_models_own({"input_ids": ids, "labels": labels})
        count = {"num_items_in_batch": torch.tensor(70)} if counted else {}
        for loss in (
            model(input_ids=ids, labels=labels, **count).loss,
            ours(model(input_ids=ids, **pieces.ALONE), labels, **count),
        ):
            model.zero_grad()
            loss.backward()
            found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_packed_rows_have_the_loss_in_pieces(
    recipe: ModuleType, layout: Literal["rows", "flat"], tmp_path: Path
):
    """As the recipe packs them, with what else stands in such a batch."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

    from neucodec_tts.training import SpeechCollator

    learning = sys.modules["learning"]
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    rows = [{"input_ids": list(range(n)), "labels": [-100, *range(1, n)]} for n in (9, 20, 14)]
    batch = SpeechCollator(0, max_length=32, layout=layout)([rows[:2], rows[2:]])
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = learning.ForgetfulTrainer(model, arguments)
    own = model(**batch).loss
    assert trainer.compute_loss(model, dict(batch)).item() == pytest.approx(own.item(), rel=1e-4)
    assert trainer._in_pieces
    with torch.no_grad():
        assert trainer.compute_loss(model.eval(), dict(batch)).item() == pytest.approx(own.item(), rel=1e-4)


def test_a_model_that_changes_its_logits_keeps_its_own_loss(recipe: ModuleType):
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2}
    inputs = {"input_ids": torch.arange(40)[None], "labels": torch.arange(40)[None], "use_cache": False}
    pieces = sys.modules["spoken_loss"].LossInPieces
    for scaling, same in ((1.0, True), (8.0, False)):
        torch.manual_seed(0)
        model = GraniteForCausalLM(GraniteConfig(**sizes, **heads, logits_scaling=scaling))
        assert pieces(model).is_the_models_own(inputs) is same
    capped = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, head_dim=16))
    assert not pieces(capped).is_the_models_own(inputs)
    model = GraniteForCausalLM(GraniteConfig(**sizes, **heads, logits_scaling=1.0))
    model.lm_head = torch.nn.Linear(32, 300)  # with a bias
    refused = pieces(model)
    assert not refused.is_the_models_own(inputs)
    refused.close()
    assert not model.base_model._forward_hooks


def test_guidance_weighs_the_text(recipe: ModuleType):
    """The target is q (p / q)^w among the likeliest 50, of the same token after two texts of different lengths."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from neucodec_tts.training import SpeechCollator

    guidance = importlib.import_module("guidance")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=90,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    voice, speech = [3, 60, 61, 2], [70, 71, 72, 73, 1]
    other_voice = [3, 62, 2]
    texts = [([4, 5], [6, 7, 8, 9]), ([5, 6, 7, 8], [9])]
    features = [
        {
            "input_ids": voice + text + speech,
            "labels": [-100] * len(voice + text) + speech,
            "contrast_ids": other_voice + other + speech,
        }
        for text, other in texts
    ]
    batch = guidance.ContrastCollator(SpeechCollator(0))(features)
    for name in ("", "contrast_"):
        learnt = batch[f"{name}labels"] != -100
        assert learnt.sum(1).tolist() == [5, 5]
        assert batch[f"{name}input_ids"][learnt].tolist() == speech * 2

    def trainer(guide: float) -> Any:
        made = guidance.GuidedTrainer.__new__(guidance.GuidedTrainer)
        made._teacher, made.guide = model, guide
        made.accelerator = SimpleNamespace(autocast=nullcontext)
        return made

    def chances(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids])).logits[0, -6:-1].log_softmax(-1)  # of the speech

    with torch.no_grad():
        expected = []
        for (_, other), found in zip(texts, (chances(each["input_ids"]) for each in features), strict=True):
            elsewhere = chances(other_voice + other + speech)
            fifty = torch.zeros_like(found).scatter(1, found.topk(50).indices, 1.0).log()
            wanted = (elsewhere + 1.7 * (found - elsewhere) + fifty).softmax(-1)
            expected.append((wanted * (wanted.clamp(min=1e-30).log() - found)).sum(-1).mean())
        loss = trainer(1.7).compute_loss(model, batch)
        torch.testing.assert_close(loss, torch.stack(expected).mean())
        same = {
            **batch,
            **{name: batch[name.removeprefix("contrast_")] for name in batch if "contrast" in name},
        }
        losses = [trainer(guide).compute_loss(model, same) for guide in (1.0, 3.0)]
        torch.testing.assert_close(losses[0], losses[1])  # the same text and voice change nothing
        assert losses[0] < loss


def test_contrasts_have_another_text_and_another_speakers_voice(
    recipe: ModuleType, work: Path, base: Path, tmp_path: Path
):
    """An example without a voice has a contrast without one. With one speaker alone, the voice is the same."""
    maker_of = importlib.import_module("speech_examples").ExampleMaker
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(base)
    prompt_format = SpeechConfig.read(base / "speech_config.json").make_format(tokenizer)
    # Each utterance of a speaker has codes of that speaker alone.
    own = {"ann": range(0, 50), "bob": range(50, 100), "cid": range(100, 150)}
    lines = [(name, codes[10 * n : 10 * n + 10]) for name, codes in own.items() for n in range(5)]

    tokens = prompt_format.training_example("All codes.", range(150)).labels[-151:-1]

    def speakers_of(ids: list[int]) -> list[str]:
        return [list(own)[tokens.index(token) // 50] for token in ids if token in tokens]

    def made(lines: list[tuple[str, range]]) -> list[dict[str, list[int]]]:
        rows = importlib.import_module("datasets").Dataset.from_dict(
            {
                "text": [f"Number {number}, read aloud." for number in range(len(lines))],
                "codes": [list(codes) for _, codes in lines],
                "speaker": [name for name, _ in lines],
            }
        )
        return list(maker_of(rows, prompt_format, 1, 256, 0, contrast=True).examples(list(range(len(lines)))))

    strangers = set()
    for number, example in enumerate(made(lines)):
        speaker = lines[number // 2][0]
        voiced = number % 2
        assert speakers_of(example["input_ids"]) == [speaker] * (20 if voiced else 10)
        before, said = speakers_of(example["contrast_ids"])[:-10], speakers_of(example["contrast_ids"])[-10:]
        assert said == [speaker] * 10
        assert speakers_of([label for label in example["labels"] if label != -100]) == [speaker] * 10
        assert example["labels"][-11:] == example["input_ids"][-11:] == example["contrast_ids"][-11:]
        assert len(before) == 10 * voiced
        assert speaker not in before
        strangers.update(before)
    assert strangers == set(own)  # whoever is another one is as likely
    for number, example in enumerate(made(lines[:5])):  # one speaker
        assert speakers_of(example["contrast_ids"]) == ["ann"] * (20 if number % 2 else 10)


@pytest.mark.slow
def test_a_model_learns_to_guide_itself(recipe: ModuleType, work: Path, base: Path, tmp_path: Path):
    """With voices and without, in two goes; the contrasts have another text and the same speech."""
    options = ["--guide", "2", "--steps", "24", "--batching", "grouped", "--clones", "1", "--speak", "0"]
    command = arguments(work, tmp_path, "--model", str(base), *options)
    assert not recipe.main([*command, "--minutes", "0"])["finished"]
    rows = importlib.import_module("datasets").Dataset.from_file(
        str(tmp_path / "examples" / "examples.arrow")
    )
    assert len(rows) == 2 * 84
    for row in rows.select(range(20)):
        codes = [label for label in row["labels"] if label != -100]
        assert row["contrast_ids"] != row["input_ids"]
        assert row["contrast_ids"][-20:] == row["input_ids"][-20:] == codes[-20:]
    result = recipe.main(command)
    assert result["finished"]
    assert result["loss_after"] < result["loss_before"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
def test_compiled_layers_learn_the_same(recipe: ModuleType, work: Path, base: Path, tmp_path: Path):
    import torch

    torch._dynamo.reset()
    losses, graphs = [], torch._dynamo.utils.counters["stats"]
    for number, more in enumerate(([], ["--compile"])):
        before = graphs["unique_graphs"]
        command = arguments(
            work, tmp_path / str(number), "--model", str(base), "--batching", "grouped", *more
        )
        losses.append(recipe.main([*command, "--steps", "8", "--speak", "0"])["loss_after"])
        compiled = graphs["unique_graphs"] - before
        assert bool(compiled) == bool(more)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_no_compiler_is_said_before_any_work(
    recipe: ModuleType, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nin a long list")

    monkeypatch.setattr(torch, "compile", fail)
    command = arguments(work, tmp_path / "a", "--from-config", "small", "--compile")
    with pytest.raises(SystemExit, match=r"--compile: No working C\+\+ compiler found; install"):
        recipe.main(command)
    assert {path.name for path in (tmp_path / "a").iterdir()} <= {"settings.json"}


def test_muon_learns_and_goes_on_where_it_was(recipe: ModuleType):
    """The embedding is AdamW's, one schedule drives both, and a state that is loaded leads to the same weights."""
    import torch

    muon_and_adamw = importlib.import_module("muon").MuonAndAdamW

    def model() -> torch.nn.Sequential:
        torch.manual_seed(0)
        layers = (torch.nn.Embedding(20, 8), torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 20))
        return torch.nn.Sequential(*layers)

    def optimizer(net: torch.nn.Sequential) -> tuple[Any, ...]:
        made = muon_and_adamw(net.parameters(), lr=0.02, apart=[net[0].weight, net[3].weight])
        return made, torch.optim.lr_scheduler.LambdaLR(made, lambda step: 1 - step / 60)

    def learn(net: torch.nn.Module, state: tuple, steps: int) -> float:
        given = torch.arange(20)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(net(given), given.roll(1))
            loss.backward()
            for each in state:
                each.step()
            state[0].zero_grad()
        return loss.item()

    whole = model()
    state = optimizer(whole)
    muon, adam = state[0].parts
    assert isinstance(muon, torch.optim.Muon)
    assert [p.shape for group in muon.param_groups for p in group["params"]] == [(16, 8)]
    first = learn(whole, state, 1)
    assert {group["lr"] for part in (muon, adam) for group in part.param_groups} == {0.02 * (1 - 1 / 60)}
    assert learn(whole, state, 39) < 0.5 * first

    broken = model()
    before = optimizer(broken)
    learn(broken, before, 15)
    after = optimizer(broken)
    for new, old in zip(after, before, strict=True):
        new.load_state_dict(old.state_dict())
    learn(broken, after, 25)
    for ours, theirs in zip(broken.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_lora_trains_the_rows_of_codes_and_leaves_those_of_text(
    recipe: ModuleType, work: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In three goes: it is told to stop after the first step, and then in the third by a signal."""
    options = ["--model", str(base), "--lora", "4", "--steps", "4", "--batching", "grouped", "--clones", "1"]
    command = arguments(work, tmp_path, *options, "--speak", "1")
    assert recipe.main([*command, "--minutes", "0"]) == {"finished": False, "step": 1}
    assert not (tmp_path / "model").exists()

    def terminate(self, args, state, control, **_):
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before_us = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["learning"].Report, "on_step_begin", terminate)
        assert recipe.main(command) == {"finished": False, "step": 3}
    assert signal.getsignal(signal.SIGTERM) == before_us
    result = recipe.main(command)
    assert result["steps"] == 4
    assert result["spoken"][0]["seconds"] > 0
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "model"))
    assert before.keys() == after.keys()
    table = "model.embed_tokens.weight"
    text = SpeechConfig.read(base / "speech_config.json")
    assert text.codebook_size == CODES
    changed = (before[table] != after[table]).any(1)
    assert changed[-CODES:].all()
    assert not changed[: -CODES - 16].any()
    assert all((before[name] != after[name]).any() for name in before if "proj" in name)


@pytest.mark.slow
def test_codes_alone_are_forgotten_and_only_as_inputs(
    recipe: ModuleType, work: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[dict[str, Any]] = []
    trainer = sys.modules["learning"].Trainer
    learn = trainer.training_step

    def step(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        seen.append(dict(inputs))
        return learn(self, model, inputs, *rest, **more)

    monkeypatch.setattr(trainer, "training_step", step)
    for share in ("0", "1"):
        options = arguments(work, tmp_path / share, "--model", str(base), "--steps", "1", "--speak", "0")
        recipe.main([*options, "--batching", "grouped", "--forget", share])
    before, after = seen
    assert before["labels"].equal(after["labels"])
    changed = before["input_ids"] != after["input_ids"]
    rows = len(load_file(base / "model.safetensors")["model.embed_tokens.weight"])
    codes = before["input_ids"] >= rows - CODES  # the last of the vocabulary
    assert 0.2 < changed[codes].float().mean() < 0.8
    assert changed.float().mean(1).std() > 0.02, "some rows forget much, and some little"
    assert not changed[~codes].any()
    assert (after["input_ids"][changed] >= rows - CODES).all()


@pytest.mark.slow
def test_tokens_that_are_there_are_used(recipe: ModuleType, work: Path, base: Path, tmp_path: Path):
    """As `prepare --tokens` leaves them; a row without text has none."""
    ids = [[5, 6, 7, 300 + number] for number in range(10)]
    write_data(
        tmp_path / "with-tokens",
        text=["abc"] * 10,
        codes=pa.array([[1, 2, 3]] * 10, pa.list_(pa.uint16())),
        input_ids=pa.array([*ids[:9], None], pa.list_(pa.int32())),
        labels=pa.array([*ids[:9], None], pa.list_(pa.int32())),
    )
    options = arguments(work, tmp_path / "out", "--model", str(base), "--steps", "1", "--speak", "0")
    place = options.index("--data") + 1
    options[place : place + 1] = [str(tmp_path / "with-tokens")] * 2
    result = recipe.main([*options, "--held-out", "0"])
    assert (result["steps"], result["measured_on"]) == (1, "what it was trained on")
    assert not (tmp_path / "out" / "examples").exists()
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["data"] == f"{tmp_path / 'with-tokens'} {tmp_path / 'with-tokens'}"


def test_several_data_sets(recipe: ModuleType, tmp_path: Path):
    """One that is named twice counts twice; columns that not all have go; codes of two codecs are not mixed."""
    load = importlib.import_module("speech_examples").load_data
    codes = pa.array([[1, 2]] * 2, pa.list_(pa.uint16()))
    write_data(tmp_path / "a", id=["a1", "a2"], text=["x", "y"], codes=codes, speaker=["ann", "ann"])
    write_data(tmp_path / "b", id=["b1", "b2"], text=["x", "y"], codes=codes)
    rows = load(tmp_path / "a", tmp_path / "b", tmp_path / "a")
    assert rows["id"] == ["a1", "a2", "b1", "b2", "a1", "a2"]
    assert set(rows.column_names) == {"id", "text", "codes"}
    assert "speaker" in load(tmp_path / "a", tmp_path / "a").column_names
    for name, codec in (("a", "neucodec-1"), ("b", "neucodec-2")):
        (tmp_path / name / "manifest.json").write_text(json.dumps({"codec": {"codec_id": codec}}))
    with pytest.raises(SystemExit, match=r"a has those of neucodec-1; .*b has those of neucodec-2"):
        load(tmp_path / "a", tmp_path / "b")
    assert len(load(tmp_path / "b")) == 2


def test_wrong_use(recipe: ModuleType, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        recipe.main(["--out", str(tmp_path), "--model", "x"])
    assert "give a folder of recordings, or --data" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        recipe.main(["--out", str(tmp_path), "--data", "x"])
    assert "--from-config" in capsys.readouterr().err
    for wrong in (["--guide", "2"], ["--guide", "2", "--batching", "grouped", "--forget", "0.5"]):
        with pytest.raises(SystemExit, match="2"):
            recipe.main(arguments(work, tmp_path / "a", "--model", "x", *wrong))
        assert "--guide goes with --batching grouped, and not with --forget" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        recipe.main(arguments(work, tmp_path / "a", "--model", "x", "--batching", "grouped", "--guide", "1"))
    assert "--guide is a number above 1" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    command = arguments(work, tmp_path / "a", "--from-config", str(tmp_path / "config.json"))
    with pytest.raises(SystemExit, match="no JSON file with a model_type"):
        recipe.main(command)
