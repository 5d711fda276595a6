"""peer_jax.py - JAX on the workloads: a step a call, and all steps in one call (a scan)."""
import os
import time

BEGUN = time.perf_counter()
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

import work


def weights(w, folder): return {k: jnp.asarray(v) for k, v in load_file(os.path.join(folder, w.model + '.safetensors')).items()}


def linear(p, name, x): return x @ p[name + '.weight'].T + p.get(name + '.bias', 0)


def conv(p, name, x, padding):
    """x [N, H, W, C], as XLA's convolutions on CPUs like it best."""
    y = jax.lax.conv_general_dilated(x, p[name + '.weight'].transpose(2, 3, 1, 0), (1, 1), [(padding, padding)] * 2,
                                     dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return y + p[name + '.bias']


def pool(x): return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')


def flat(x): return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)      # as the weights have it


def norm(p, name, x):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * p[name + '.weight'] + p[name + '.bias']


def attention(p, name, x, heads):
    n, t, e = x.shape
    q, k, v = jnp.split(x @ p[name + '.in_proj_weight'].T + p[name + '.in_proj_bias'], 3, -1)
    q, k, v = (a.reshape(n, t, heads, e // heads).transpose(0, 2, 1, 3) for a in (q, k, v))
    scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), q @ k.transpose(0, 1, 3, 2) / np.sqrt(e // heads), -jnp.inf)
    return linear(p, name + '.out_proj', (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(n, t, e))


def gpt(p, text):
    x = p['wte.weight'][text] + p['wpe.weight']
    for i in range(4):
        b = f'h.{i}.'
        x = x + attention(p, b + 'attn', norm(p, b + 'ln_1', x), 4)
        x = x + linear(p, b + 'c_proj', jax.nn.gelu(linear(p, b + 'c_fc', norm(p, b + 'ln_2', x)), approximate=False))
    return norm(p, 'ln_f', x) @ p['wte.weight'].T


def net(model, p, x):
    if model == 'gpt':
        return gpt(p, x.astype(jnp.int32))
    x = x.astype(jnp.float32) / 255
    if model in ('lenet', 'cnn'):
        x = x[..., None]
        if model == 'lenet':
            x = pool(jax.nn.relu(conv(p, 'conv1', x, 0)))
            x = flat(pool(jax.nn.relu(conv(p, 'conv2', x, 0))))
            return linear(p, 'fc3', jax.nn.relu(linear(p, 'fc2', jax.nn.relu(linear(p, 'fc1', x)))))
        x = jax.nn.relu(conv(p, 'conv1', x, 1))
        x = flat(pool(jax.nn.relu(conv(p, 'conv2', x, 1))))
        return linear(p, 'fc2', jax.nn.relu(linear(p, 'fc1', x)))
    x = x.reshape(x.shape[0], -1)
    if model == 'slp':
        return jax.nn.sigmoid(linear(p, 'fc', x))
    if model == 'mlp':
        return jax.nn.sigmoid(linear(p, 'fc2', jax.nn.sigmoid(linear(p, 'fc1', x))))
    return linear(p, 'fc3', jax.nn.relu(linear(p, 'fc2', jax.nn.relu(linear(p, 'fc1', x)))))


def loss_of(model, p, x, y):
    out = net(model, p, x)
    if model in ('slp', 'mlp'):
        return jnp.mean((out - jax.nn.one_hot(y, 10)) ** 2)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[..., None].astype(jnp.int32), -1))


def update(model, p, g, s):
    if model in ('slp', 'mlp'):
        return jax.tree.map(lambda a, b: a - 0.5 * b, p, g), s
    m, v, t = s
    t = t + 1
    lr, b1, b2, decay = (1e-5, 0.9, 0.999, 0.1) if model == 'gpt' else (1e-3, 0.9, 0.999, 0.0)
    if model == 'gpt':
        size = jnp.sqrt(sum(jnp.sum(a * a) for a in jax.tree.leaves(g)))
        g = jax.tree.map(lambda a: a * jnp.minimum(1.0, 1.0 / (size + 1e-6)), g)
    m = jax.tree.map(lambda a, b: b1 * a + (1 - b1) * b, m, g)
    v = jax.tree.map(lambda a, b: b2 * a + (1 - b2) * b * b, v, g)
    p = jax.tree.map(lambda w, a, b: w * (1 - lr * decay) - lr / (1 - b1 ** t) * a / (jnp.sqrt(b / (1 - b2 ** t)) + 1e-8), p, m, v)
    return p, (m, v, t)


def step_of(model):
    def step(state, rows, x, y):
        p, s = state
        loss, g = jax.value_and_grad(lambda q: loss_of(model, q, x[rows], y[rows]))(p)
        return update(model, p, g, s), loss
    return step


def begin(w, folder):
    p = weights(w, folder)
    zeros = jax.tree.map(jnp.zeros_like, p)
    return p, (zeros, jax.tree.map(jnp.zeros_like, p), jnp.float32(0))


def train(w, mode, folder):
    x, y, order = work.rows(w, folder)
    x, y, order = jnp.asarray(x), jnp.asarray(y.astype(np.int32)), jnp.asarray(order)
    step, n = step_of(w.model), min(w.steps, len(order))
    one = jax.jit(step, donate_argnums=0)
    state, losses = begin(w, folder), []
    for i in range(work.CHECKED):
        state, loss = one(state, order[i], x, y)
        losses.append(float(loss))
    if mode == 'scan':
        many = jax.jit(lambda s, rows: jax.lax.scan(lambda a, r: step(a, r, x, y), s, rows), donate_argnums=0)
        state, loss = many(state, order[:n])
        loss.block_until_ready()
        begun = time.perf_counter()
        state, loss = many(state, order[:n])
    else:
        numbers = [order[i] for i in range(n)]
        begun = time.perf_counter()
        for i in range(n):
            state, loss = one(state, numbers[i], x, y)
    loss.block_until_ready()
    work.tell((time.perf_counter() - begun) * w.steps / n, losses)


def infer(w, mode, folder):
    p, x = weights(w, folder), jnp.asarray(work.images(folder)[0][:w.batch])
    call = jax.jit(lambda a: net(w.model, p, a))
    for _ in range(work.WARM):
        call(x).block_until_ready()
    work.tell(work.timed(lambda i: call(x).block_until_ready(), w.steps))


def start(w, mode, folder):
    x, y, order = work.rows(w, folder)
    _, loss = jax.jit(step_of(w.model))(begin(w, folder), jnp.arange(w.batch), jnp.asarray(x[order[0]]), jnp.asarray(y[order[0]].astype(np.int32)))
    loss.block_until_ready()
    work.tell(time.perf_counter() - BEGUN)


def main():
    args = work.arguments()
    w = work.find(args.workload)
    {'train': train, 'infer': infer, 'start': start, 'memory': train}[w.kind](w, args.mode, args.work)


if __name__ == '__main__':
    main()
