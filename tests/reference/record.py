"""record.py - what PyTorch computes in float64, step by step, for nnd to be compared with.

    python3 record.py --data DIR --out DIR [--steps 200] [--rows 12800] [--epochs 1] [--seed 3] [--float 64] [CASE...]

For each case it writes CASE.csv (step,loss of each batch before its update; last test, the loss of the test split); for each net its weights
(NET.safetensors, f32), and for all of them one order of rows (order.npy, i64 [epochs, rows]).  Weights and order
depend on the seed alone.  The run itself is in double precision, unless --float 32 asks how far PyTorch's own
single precision drifts: the f32 weights are widened, pixels divided by 255 in double.
"""
import argparse, gzip, math, os, struct, sys
import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))
from plain import save
import record_gpt

BATCH = 64
NETS = {
    'slp': [('fc', 784, 10)],
    'mlp': [('fc1', 784, 50), ('fc2', 50, 10)],
    'relu': [('fc1', 784, 128), ('fc2', 128, 64), ('fc3', 64, 10)],
    'attention': [('fc1', 28, 32), ('fc2', 32, 10)],    # over the rows of an image, with attn and a layer norm ln between
    'embedded': [('fc1', 112, 10)],                     # behind an embedding emb of brightness, averaged over rows
    'turns': [('g.fc1', 28, 32), ('g.fc2', 32, 784), ('d.fc1', 784, 32), ('d.fc2', 32, 1)],
    'pinn': [('fc1', 1, 32), ('fc2', 32, 32), ('fc3', 32, 1)],
    'lenet': [('conv1', 25, 8), ('conv2', 200, 16), ('fc1', 256, 120), ('fc2', 120, 84), ('fc3', 84, 10)],
    'lstm': [('fc', 32, 10)],                           # behind an LSTM of the rows of an image, its last output
    'gru': [('fc', 32, 10)],
    'normed': [('fc1', 784, 50), ('fc2', 50, 10)],      # with a batch norm bn, ReLU and a layer norm ln between
}


def sgd(**kw): return lambda p: torch.optim.SGD(p, **kw)
def adam(**kw): return lambda p: torch.optim.Adam(p, **kw)
def adamw(**kw): return lambda p: torch.optim.AdamW(p, **kw)
def adagrad(**kw): return lambda p: torch.optim.Adagrad(p, **kw)
def rmsprop(**kw): return lambda p: torch.optim.RMSprop(p, **kw)


class Lion(torch.optim.Optimizer):
    """X. Chen et al. 2023, algorithm 2; PyTorch has none."""

    def __init__(self, p, lr, weight_decay):
        super().__init__(p, dict(lr=lr, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group['params']:
                m = self.state[w].setdefault('m', torch.zeros_like(w))
                update = torch.sign(0.9 * m + 0.1 * w.grad)
                w.sub_(group['lr'] * (update + group['weight_decay'] * w))
                m.mul_(0.99).add_(0.01 * w.grad)


def lion(**kw): return lambda p: Lion(p, **kw)


# case: net, loss, optimizer, (step, steps, epoch) -> factor of the learning rate, largest norm of the gradients
CASES = {
    'slp': ('slp', 'mse', sgd(lr=0.5), None, None),
    'mlp': ('mlp', 'mse', sgd(lr=0.5), None, None),
    'relu': ('relu', 'ce', adam(lr=1e-3), None, None),
    'nesterov': ('mlp', 'ce', sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), None, None),
    'dampening': ('mlp', 'ce', sgd(lr=0.1, momentum=0.9, dampening=0.5), None, None),
    'adam_decay': ('mlp', 'ce', adam(lr=1e-3, weight_decay=0.1), None, None),
    'adamw': ('mlp', 'ce', adamw(lr=1e-3, weight_decay=0.1), None, None),
    'clipped': ('mlp', 'ce', sgd(lr=0.5), None, 0.1),
    'normed': ('normed', 'ce', sgd(lr=0.1), None, None),
    'attention': ('attention', 'ce', adam(lr=1e-3), None, None),
    'lstm': ('lstm', 'ce', adam(lr=1e-3), None, None),
    'gru': ('gru', 'ce', adam(lr=1e-3), None, None),
    'embedded': ('embedded', 'ce', sgd(lr=0.5), None, None),
    'shared': ('normed', 'ce', sgd(lr=0.1), None, None),
    'two': ('mlp', 'mse', sgd(lr=0.5), None, None),
    'grouped': ('mlp', 'ce', sgd(lr=0.1), None, None),
    'smoothed': ('mlp', 'smooth', sgd(lr=0.1), None, None),
    'huber': ('mlp', 'huber', sgd(lr=0.5), None, None),
    'l1': ('mlp', 'l1', sgd(lr=0.05), None, None),
    'adagrad': ('mlp', 'ce', adagrad(lr=0.01, lr_decay=0.01, weight_decay=0.01), None, None),
    'rmsprop': ('mlp', 'ce', rmsprop(lr=1e-3, momentum=0.5, centered=True), None, None),
    'lion': ('mlp', 'ce', lion(lr=1e-3, weight_decay=0.1), None, None),
    'ignored': ('mlp', 'ignore', sgd(lr=0.1), None, None),
    'lenet': ('lenet', 'ce', adam(lr=1e-3), None, None),
    'gpt': ('gpt', None, None, None, None),             # record_gpt.py
    'turns': ('turns', None, None, None, None),         # a generator and a discriminator
    'pinn': ('pinn', None, None, None, None),           # a loss of derivatives by the input
    'exponential': ('mlp', 'ce', sgd(lr=0.5), None, None),
    'multi_step': ('mlp', 'ce', sgd(lr=0.5), None, None),
    'one_cycle': ('mlp', 'ce', sgd(lr=1.0), None, None),
    'cosine': ('mlp', 'ce', sgd(lr=0.1), lambda step, steps: step / 10 if step <= 10
               else 0.5 * (1 + math.cos(math.pi * (step - 10) / (steps - 10))), None),
}


F = torch.nn.functional
EVAL = 400              # rows of a batch of evaluation, as nnd chooses them for a split of 10000
EPOCH = 50              # steps of an epoch, where a schedule counts epochs
SCHEDULERS = {
    'exponential': lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.5),
    'multi_step': lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=[1, 3], gamma=0.1),
}
LOSSES = {      # of outputs, class numbers, and these as one-hot rows
    'mse': lambda out, y, hot: ((out - hot) ** 2).mean(),
    'ce': lambda out, y, hot: F.cross_entropy(out, y),
    'ignore': lambda out, y, hot: F.cross_entropy(out, y, label_smoothing=0.1, ignore_index=3),
    'smooth': lambda out, y, hot: F.cross_entropy(out, y, label_smoothing=0.1),
    'huber': lambda out, y, hot: F.huber_loss(out, hot, delta=0.3),
    'l1': lambda out, y, hot: F.l1_loss(out, hot),
}


def idx(path):
    raw = gzip.open(path).read()
    dims = struct.unpack('>' + 'I' * raw[3], raw[4:4 + 4 * raw[3]])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


RECURRENT = {'lstm': (torch.nn.LSTM, 4), 'gru': (torch.nn.GRU, 3)}


def weights(net, seed):
    if net == 'gpt':
        return record_gpt.weights(seed)
    g = torch.Generator().manual_seed(seed)
    w = {}
    for name, fan, out in NETS[net]:
        k = fan ** -0.5
        w[name + '.weight'] = (torch.rand(out, fan, generator=g) * 2 - 1) * k
        w[name + '.bias'] = (torch.rand(out, generator=g) * 2 - 1) * k
    if net == 'attention':
        for name, shape in (('attn.in_proj_weight', [96, 32]), ('attn.in_proj_bias', [96]), ('attn.out_proj.weight', [32, 32]),
                            ('attn.out_proj.bias', [32]), ('ln.weight', [32]), ('ln.bias', [32])):
            w[name] = (torch.rand(*shape, generator=g) * 2 - 1) * 32 ** -0.5
    if net == 'lenet':
        w['conv1.weight'] = w['conv1.weight'].reshape(8, 1, 5, 5)
        w['conv2.weight'] = w['conv2.weight'].reshape(16, 8, 5, 5)
    if net in RECURRENT:
        gates = RECURRENT[net][1]
        for name, shape in (('weight_ih_l0', [gates * 32, 28]), ('weight_hh_l0', [gates * 32, 32]), ('bias_ih_l0', [gates * 32]),
                            ('bias_hh_l0', [gates * 32])):
            w['rows.' + name] = (torch.rand(*shape, generator=g) * 2 - 1) * 32 ** -0.5
    if net == 'embedded':
        w['emb.weight'] = torch.randn(256, 4, generator=g)
    if net == 'normed':
        for name in 'bn', 'ln':
            w[name + '.weight'] = torch.rand(50, generator=g) + 0.5
            w[name + '.bias'] = torch.rand(50, generator=g) - 0.5
    return w


def orders(epochs, rows, n, seed):
    g = torch.Generator().manual_seed(seed + 1)
    return np.stack([torch.randperm(n, generator=g).numpy()[:rows] for _ in range(epochs)]).astype(np.int64)


def forward(net, p, x, running):
    layers = NETS[net]
    if net == 'attention':
        x = (x.reshape(-1, 28, 28) @ p['fc1.weight'].T + p['fc1.bias']).transpose(0, 1)
        mask = torch.ones(28, 28, dtype=torch.bool).triu(1)
        y, _ = F.multi_head_attention_forward(x, x, x, 32, 4, p['attn.in_proj_weight'], p['attn.in_proj_bias'], None, None, False,
                                              0.0, p['attn.out_proj.weight'], p['attn.out_proj.bias'], attn_mask=mask)
        x = F.layer_norm(x + y, [32], p['ln.weight'], p['ln.bias']).mean(0)
        return x @ p['fc2.weight'].T + p['fc2.bias']
    if net in RECURRENT:
        layer = RECURRENT[net][0](28, 32, batch_first=True).to(x.dtype)
        y, _ = torch.func.functional_call(layer, {k[5:]: v for k, v in p.items() if k.startswith('rows.')}, (x.reshape(-1, 28, 28),))
        return y[:, -1] @ p['fc.weight'].T + p['fc.bias']
    if net == 'embedded':
        x = F.embedding((x * 255).round().long().reshape(-1, 28, 28), p['emb.weight']).mean(1)
        return x.reshape(-1, 112) @ p['fc1.weight'].T + p['fc1.bias']
    if net == 'normed':
        x = x @ p['fc1.weight'].T + p['fc1.bias']
        x = F.batch_norm(x, *running, p['bn.weight'], p['bn.bias'], training=torch.is_grad_enabled())
        x = F.layer_norm(torch.relu(x), [50], p['ln.weight'], p['ln.bias'])
        return x @ p['fc2.weight'].T + p['fc2.bias']
    if net == 'lenet':
        x = x.reshape(-1, 1, 28, 28)
        for name in 'conv1', 'conv2':
            x = F.max_pool2d(torch.relu(F.conv2d(x, p[name + '.weight'], p[name + '.bias'])), 2)
        x, layers = x.flatten(1), layers[2:]
    for i, (name, _, _) in enumerate(layers):
        x = x @ p[name + '.weight'].T + p[name + '.bias']
        if net in ('relu', 'lenet'):
            x = torch.relu(x) if i + 1 < len(layers) else x
        elif i + 1 < len(layers) or net == 'slp' or net == 'mlp':
            x = torch.sigmoid(x)
    return x


def run(case, images, labels, test, rows, steps, dtype, seed):
    net, loss, optimizer, schedule, clip = CASES[case]
    p = {k: v.to(dtype).requires_grad_() for k, v in weights(net, seed).items()}
    opt = optimizer(list(p.values()))
    lr = opt.param_groups[0]['lr']
    cycle = None
    if case == 'one_cycle':
        cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=steps, cycle_momentum=False)
    epochs = SCHEDULERS[case](opt) if case in SCHEDULERS else None
    running = torch.zeros(50, dtype=dtype), torch.ones(50, dtype=dtype)
    losses = []
    if case == 'two':       # each loss trains one layer, and both are computed before either moves
        opt = torch.optim.SGD([p['fc1.weight'], p['fc1.bias']], lr=0.5)
        other = torch.optim.Adam([p['fc2.weight'], p['fc2.bias']], lr=1e-3)
    if case == 'grouped':
        opt = torch.optim.AdamW([v for k, v in p.items() if k.endswith('.weight')], lr=1e-3, weight_decay=0.1)
        other = torch.optim.SGD([v for k, v in p.items() if k.endswith('.bias')], lr=0.1)
    for step, r in enumerate(rows[:steps], 1):
        x = torch.from_numpy(images[r].reshape(len(r), 784)).to(dtype) / 255
        y = torch.from_numpy(labels[r].astype(np.int64))
        out = forward(net, p, x, running)
        if case == 'shared':     # the same layers on darker images: the norm's statistics move twice
            half = torch.from_numpy(images[r].reshape(len(r), 784) // 2).to(dtype) / 255
            out = out + forward(net, p, half, running)
        l = LOSSES[loss](out, y, F.one_hot(y, 10).to(dtype))
        if case == 'two':
            ce = torch.autograd.grad(F.cross_entropy(out, y), [p['fc2.weight'], p['fc2.bias']], retain_graph=True)
        for v in p.values():
            v.grad = None
        l.backward()
        if case == 'two':
            p['fc2.weight'].grad, p['fc2.bias'].grad = ce
        if case in ('two', 'grouped'):
            other.step()
        if clip:
            torch.nn.utils.clip_grad_norm_(p.values(), clip)
        if schedule:
            opt.param_groups[0]['lr'] = lr * schedule(step, steps)
        opt.step()
        if cycle and step < steps:
            cycle.step()
        if epochs and step % EPOCH == 0:
            epochs.step()
        losses.append(l.item())
    x, y = (torch.from_numpy(a.astype(np.int64)) for a in test)
    with torch.no_grad():
        out = forward(net, p, x.reshape(len(y), 784).to(dtype) / 255, running)
        if case == 'shared':
            out = out + forward(net, p, (x.reshape(len(y), 784) // 2).to(dtype) / 255, running)
    parts = [slice(i, i + EVAL) for i in range(0, len(y), EVAL)]      # a split's figure is the mean of its batches'
    return losses, sum(LOSSES[loss](out[s], y[s], F.one_hot(y[s], 10).to(dtype)).item() for s in parts) / len(parts)


def turns(images, test, rows, steps, dtype, seed):
    """The generator's loss is that of the discriminator as its own step has left it."""
    p = {k: v.to(dtype).requires_grad_() for k, v in weights('turns', seed).items()}
    one = lambda name: [v for k, v in p.items() if k.startswith(name)]
    d, g = torch.optim.SGD(one('d.'), lr=0.02), torch.optim.Adam(one('g.'), lr=2e-4)

    def net(name, x):
        h = torch.tanh(x @ p[name + '.fc1.weight'].T + p[name + '.fc1.bias'])
        return h @ p[name + '.fc2.weight'].T + p[name + '.fc2.bias']

    def judged(a):
        real = torch.from_numpy(np.array(a)).to(dtype) / 255
        fake = torch.sigmoid(net('g', real.mean(1)))
        says, lies = net('d', real.flatten(1)), net('d', fake.detach())
        bce = F.binary_cross_entropy_with_logits
        return fake, bce(says, torch.ones_like(says)) + bce(lies, torch.zeros_like(lies))

    losses = []
    for r in rows[:steps]:
        fake, l = judged(images[r])
        d.zero_grad()
        l.backward()
        d.step()
        g.zero_grad()
        says = net('d', fake)
        F.binary_cross_entropy_with_logits(says, torch.ones_like(says)).backward()
        g.step()
        losses.append(l.item())
    with torch.no_grad():
        parts = [judged(test[0][i:i + EVAL])[1].item() for i in range(0, len(test[0]), EVAL)]
    return losses, sum(parts) / len(parts)


def pinn(images, test, rows, steps, dtype, seed):
    """models/pinn.nnd: rows are moments, and so many as the images."""
    p = {k: v.to(dtype).requires_grad_() for k, v in weights('pinn', seed).items()}
    opt = torch.optim.Adam(p.values(), lr=1e-3)

    def moving(r):
        t = torch.from_numpy(2 * (r + 0.5) / len(images)).to(dtype).reshape(-1, 1).requires_grad_()
        h = torch.tanh(t @ p['fc1.weight'].T + p['fc1.bias'])
        u = torch.tanh(h @ p['fc2.weight'].T + p['fc2.bias']) @ p['fc3.weight'].T + p['fc3.bias']
        speed, = torch.autograd.grad(u.sum(), t, create_graph=True)
        return t, u, speed

    def judged(r):
        t, u, speed = moving(r)
        force = torch.autograd.grad(speed.sum(), t, create_graph=True)[0] + 2 * speed + 25 * u
        _, u0, speed0 = moving(np.array([-0.5]))
        return (force ** 2).mean() + 100 * ((u0 - 1) ** 2 + speed0 ** 2).mean()

    losses = []
    for r in rows[:steps]:
        l = judged(r)
        opt.zero_grad()
        l.backward()
        opt.step()
        losses.append(l.item())
    parts = [judged(np.arange(i, i + EVAL)).item() for i in range(0, len(test[0]), EVAL)]
    return losses, sum(parts) / len(parts)


OWN = {'turns': turns, 'pinn': pinn}
FEWER = {'lenet': 50, 'lstm': 100}      # steps
LATER = {'lenet': 2}       # added to the seed of the weights: one whose single precision stays, see README.md


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--data', required=True)
    a.add_argument('--out', required=True)
    a.add_argument('--steps', type=int, default=200)
    a.add_argument('--rows', type=int, default=12800)
    a.add_argument('--epochs', type=int, default=1)
    a.add_argument('--seed', type=int, default=3)
    a.add_argument('--float', type=int, choices=[32, 64], default=64)
    a.add_argument('case', nargs='*')
    a = a.parse_args()
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    images = idx(os.path.join(a.data, 'train-images-idx3-ubyte.gz'))
    labels = idx(os.path.join(a.data, 'train-labels-idx1-ubyte.gz'))
    test = idx(os.path.join(a.data, 't10k-images-idx3-ubyte.gz')), idx(os.path.join(a.data, 't10k-labels-idx1-ubyte.gz'))
    order = orders(a.epochs, a.rows, len(labels), a.seed)
    np.save(os.path.join(a.out, 'order.npy'), order)
    rows = [e[i:i + BATCH] for e in order for i in range(0, a.rows, BATCH)]
    for case in a.case or CASES:
        net, seed = CASES[case][0], a.seed + LATER.get(case, 0)
        save(os.path.join(a.out, net + '.safetensors'), weights(net, seed))
        dtype = torch.float64 if a.float == 64 else torch.float32
        steps = min(a.steps, FEWER.get(case, a.steps))
        losses, evaluated = (record_gpt.run(a.out, steps, dtype, seed) if case == 'gpt' else
                             OWN[case](images, test, rows, steps, dtype, seed) if case in OWN else
                             run(case, images, labels, test, rows, steps, dtype, seed))
        with open(os.path.join(a.out, case + '.csv'), 'w') as f:
            f.write('step,loss\n')
            for step, l in enumerate(losses, 1):
                f.write('%d,%.17g\n' % (step, l))
            f.write('test,%.17g\n' % evaluated)


if __name__ == '__main__':
    main()
