"""Speed of training many small networks together: network-steps per second, and the cost of watching them.

Timed: 64 tanh classifiers trained in one vmapped program; the same runs one after the other in a Python loop
over a jitted run; and a Python loop over single jitted steps. Twice: 3 layers of width 16 on batches of 16,
where a step is mostly overhead, and 20 layers of width 32 on batches of 32, where it is mostly arithmetic.
The numbers of all three agree, results are waited for, and the ratios are in ``extra_info``. Compilation is
not timed. ``diagnostics.by_layer`` is watched at a stride of 25 steps; its share of the time is recorded.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

NETWORKS, STEPS, STRIDE, RATE = 64, 100, 25, 0.05
SIZES = {"small": (3, 16, 16), "deep": (20, 32, 32)}  # layers, width, batch
LOOPED = 4  # networks of the Python loops, which are slower
DATA = problem("gm10")


def network(size, key):
    """One network."""
    depth, width, _ = SIZES[size]
    return draw_classifier(key, DATA.features, width, depth, DATA.classes, activation("tanh"))


def run(size, key, rate, observe=None):
    """Losses of one run, and what was watched."""
    draw = batches(DATA, SIZES[size][2])
    trained = train(
        key, network(size, key), cross_entropy, draw, optax.sgd(rate), STEPS, STEPS // STRIDE, observe
    )
    return trained.record


def seconds(call):
    """The faster of two calls, results waited for."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return min(times)


def step_by_step(size, keys):
    """Mean losses of strides of networks trained by one jitted step after the other."""
    draw = batches(DATA, SIZES[size][2])

    @jax.jit
    def step(parameters, rest, key, number):
        batch = draw(jax.random.fold_in(key, number))
        value, slope = jax.value_and_grad(lambda p: cross_entropy(nnx.merge(graph, p, rest), batch)[0])(
            parameters
        )
        return jax.tree.map(lambda w, g: w - jnp.float32(RATE) * g, parameters, slope), value

    models = [jax.jit(partial(network, size))(key) for key in keys]
    graph, *states = nnx.split(models[0], nnx.Param, ...)
    jax.block_until_ready(step(*states, keys[0], 0))  # compiles
    began, losses = time.perf_counter(), []
    for key, model in zip(keys, models, strict=True):
        _, parameters, rest = nnx.split(model, nnx.Param, ...)
        for number in range(STEPS):
            parameters, value = step(parameters, rest, key, number)
            losses.append(value)
    jax.block_until_ready(losses)
    return np.array(losses).reshape(len(keys), -1, STRIDE).mean(2), time.perf_counter() - began


@pytest.fixture(scope="module", params=SIZES)
def together(request):
    """A size, its vmapped program without and with watching, and the arguments."""
    one = partial(run, request.param)
    keys, rates = jax.random.split(jax.random.key(0), NETWORKS), jnp.full(NETWORKS, RATE, jnp.float32)
    plain = jax.jit(jax.vmap(one)).lower(keys, rates).compile()
    watched = jax.jit(jax.vmap(lambda key, rate: one(key, rate, by_layer))).lower(keys, rates).compile()
    return request.param, plain, watched, (keys, rates)


def test_networks_trained_together_against_loops(benchmark, together):
    """Time the vmapped program; every loop gives the same losses."""
    size, program, _, (keys, rates) = together
    record = benchmark.pedantic(
        lambda: jax.block_until_ready(program(keys, rates)), rounds=2, warmup_rounds=1
    )
    vmapped = seconds(lambda: program(keys, rates)) / NETWORKS
    alone = jax.jit(partial(run, size)).lower(keys[0], rates[0]).compile()
    singly = seconds(lambda: [alone(key, rates[0])["loss"] for key in keys[:LOOPED]]) / LOOPED
    losses = np.stack([alone(key, rates[0])["loss"] for key in keys[:LOOPED]])
    np.testing.assert_allclose(record["loss"][:LOOPED], losses, rtol=2e-3)
    stepped, step_seconds = step_by_step(size, keys[:LOOPED])
    np.testing.assert_allclose(stepped, losses, rtol=2e-3)
    benchmark.extra_info |= {
        "workload": f"training-{size}",
        "networks": NETWORKS,
        "network_steps_per_second": STEPS / vmapped,
        "times_faster_than_a_loop_of_runs": singly / vmapped,
        "times_faster_than_a_loop_of_steps": step_seconds / LOOPED / vmapped,
        "device": jax.devices()[0].device_kind,
    }


def test_watching_layers_at_a_stride_costs_little(benchmark, together):
    """Time the program that watches; the share is of its time, against the same program that does not."""
    size, plain, watched, arguments = together
    benchmark.pedantic(lambda: jax.block_until_ready(watched(*arguments)), rounds=2, warmup_rounds=1)
    with_watching, without = (seconds(lambda p=p: p(*arguments)) for p in (watched, plain))
    np.testing.assert_allclose(watched(*arguments)["loss"], plain(*arguments)["loss"], rtol=2e-3)
    benchmark.extra_info |= {
        "workload": f"training-{size}-watched",
        "stride": STRIDE,
        "share_of_time_spent_watching": 1 - without / with_watching,
        "device": jax.devices()[0].device_kind,
    }
