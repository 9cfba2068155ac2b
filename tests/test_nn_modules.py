"""What every module of `rp.nn` obeys: noise, modes, checkpoints, compilers and precisions."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import reparam as rp
from acceptance import seeded
from nn_cases import CASES, Case, falling
from reparam.schedules import Exponential

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def outcome(module: nn.Module, inputs: tuple[Tensor, ...], **source) -> list[Tensor]:
    """All tensors that a forward returns."""
    return [x for x in tree_leaves(module(*inputs, **source)) if isinstance(x, Tensor)]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two outcomes are the same."""
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def gradients(module: nn.Module, inputs: tuple[Tensor, ...], values: list[Tensor]) -> list[Tensor]:
    """Of the parameters and inputs, of all values together."""
    leaves = [*module.parameters(), *inputs]
    total = sum(v.float().square().sum() for v in values if v.is_floating_point())
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


def test_every_module_has_a_case():
    """All that are exported, and all modules."""
    covered = {type(m) for case in CASES.values() for m in case.module().modules()}
    exported = {getattr(rp.nn, name) for name in rp.nn.__all__}
    modules = {m for m in exported if isinstance(m, type) and issubclass(m, nn.Module)}
    assert modules - covered == {rp.nn.Select}


@every_case
def test_training_draws_from_the_source_that_is_given(case: Case):
    """A generator or a key repeats, others differ; the global generator is left alone."""
    module, inputs, before = case.module(), case.inputs(), torch.get_rng_state()
    for make in (lambda i: {"generator": seeded(i)}, lambda i: {"key": i}):
        first, same, other = (outcome(module, inputs, **make(i)) for i in (1, 1, 2))
        assert equal(first, same)
        assert not equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        assert not equal(outcome(module, inputs), outcome(module, inputs))


@every_case
def test_eval_mode_has_no_noise(case: Case):
    """It repeats itself, whatever the source, and draws nothing."""
    module, inputs, before = case.module().eval(), case.inputs(), torch.get_rng_state()
    results = [outcome(module, inputs, **source) for source in ({}, {"key": 1}, {"key": 2})]
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])
    assert torch.equal(before, torch.get_rng_state())


@every_case
def test_gradients_reach_every_parameter(case: Case):
    """In training, finite, of parameters and inputs."""
    module, inputs = case.module(), tuple(x.requires_grad_() for x in case.inputs())
    grads = gradients(module, inputs, outcome(module, inputs, key=1))
    assert len(grads) >= 1
    for grad in grads:
        assert grad.isfinite().all()
        assert (grad != 0).any()


@every_case
def test_a_checkpoint_goes_on_where_it_was(case: Case):
    """Parameters, steps and temperatures: the copy draws and steps as the original does."""
    module, inputs = case.module(), case.inputs()
    for _ in range(3):
        rp.nn.anneal(module)
    state = copy.deepcopy(module.state_dict())
    fresh = case.module(seed=5)
    fresh.load_state_dict(state)
    for _ in range(2):
        assert equal(outcome(module, inputs, key=1), outcome(fresh, inputs, key=1))
        rp.nn.anneal(module)
        rp.nn.anneal(fresh)
    steps = [int(v) for k, v in fresh.state_dict().items() if k.endswith("steps")]
    assert steps == [5] * case.temperatures


@every_case
def test_it_compiles_whole_once_for_all_temperatures(case: Case):
    """Values and gradients of eager mode at one key, in training and in eval mode."""
    torch._dynamo.reset()
    module, inputs = case.module(), tuple(x.requires_grad_() for x in case.inputs())
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for step in range(4):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            results = [outcome(m, inputs, key=1) for m in (module, compiled)]
        for eager, traced in zip(*results, strict=True):
            torch.testing.assert_close(traced, eager)
        grads = [gradients(module, inputs, values) for values in results]
        for eager, traced in zip(*grads, strict=True):
            torch.testing.assert_close(traced, eager)
        rp.nn.anneal(module)
    module.eval()
    for eager, traced in zip(outcome(module, inputs), outcome(compiled, inputs), strict=True):
        torch.testing.assert_close(traced, eager)


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_autocast_and_half_modules_keep_their_dtypes(case: Case, training: bool):
    """Under bf16 autocast noise and choices are float32's; a bf16 module returns bf16."""
    module, inputs = case.module().train(training), case.inputs()
    with torch.autocast("cpu", torch.bfloat16):
        cast = outcome(module, inputs, key=1)
    for got, expected in zip(cast, outcome(module, inputs, key=1), strict=True):
        torch.testing.assert_close(got.to(expected.dtype), expected, rtol=0.03, atol=0.1)
    half = module.to(torch.bfloat16)
    values = outcome(half, case.inputs(dtype=torch.bfloat16), key=1)
    assert torch.bfloat16 in {v.dtype for v in values}
    assert all(v.float().isfinite().all() for v in values)


@every_case
def test_it_says_what_it_is(case: Case):
    """By its sizes and, where there is one, its temperature."""
    text = repr(case.module())
    assert type(case.module()).__name__ in text
    assert text.count("tau=1 after 0 steps") == case.temperatures
    assert any(character.isdigit() for character in text) or case is CASES["categorical"]


def test_a_temperature_is_its_schedule_at_the_steps_taken():
    """To the last digit; a schedule can be shared, for it is asked, not stepped."""
    schedule = Exponential(2.0, 0.3, rate=0.37)
    one, other = rp.nn.Temperature(schedule), rp.nn.Temperature(schedule)
    model = nn.ModuleDict({"one": one, "same": one, "other": other})
    for step in range(8):
        assert one().item() == other().item() == schedule.at(step)
        rp.nn.anneal(model)
    assert rp.nn.Temperature(0.7)().item() == 0.7
    with pytest.raises(ValueError, match="tau: expected a temperature >= 0"):
        rp.nn.Temperature(-1.0)


def test_a_step_may_come_between_forward_and_backward():
    """The graph keeps the temperature it was made with."""
    temperature, leaf = rp.nn.Temperature(falling()), torch.ones((), requires_grad=True)
    value = leaf * temperature()
    rp.nn.anneal(temperature)
    assert torch.autograd.grad(value, leaf)[0] == 1.0
