"""record.py - what PyTorch computes in float64, step by step, for nnd to be compared with.

    python3 record.py --data DIR --out DIR [--steps 200] [--rows 12800] [--epochs 1] [--seed 3] [--float 64] [CASE...]

For each case it writes CASE.csv (step,loss of each batch before its update); for each net its weights
(NET.safetensors, f32), and for all of them one order of rows (order.npy, i64 [epochs, rows]).  Weights and order
depend on the seed alone.  The run itself is in double precision, unless --float 32 asks how far PyTorch's own
single precision drifts: the f32 weights are widened, pixels divided by 255 in double.
"""
import argparse, gzip, json, math, os, struct
import numpy as np
import torch

BATCH = 64
NETS = {
    'slp': [('fc', 784, 10)],
    'mlp': [('fc1', 784, 50), ('fc2', 50, 10)],
    'relu': [('fc1', 784, 128), ('fc2', 128, 64), ('fc3', 64, 10)],
}


def sgd(**kw): return lambda p: torch.optim.SGD(p, **kw)
def adam(**kw): return lambda p: torch.optim.Adam(p, **kw)
def adamw(**kw): return lambda p: torch.optim.AdamW(p, **kw)


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
    'cosine': ('mlp', 'ce', sgd(lr=0.1), lambda step, steps: step / 10 if step <= 10
               else 0.5 * (1 + math.cos(math.pi * (step - 10) / (steps - 10))), None),
}


def idx(path):
    raw = gzip.open(path).read()
    dims = struct.unpack('>' + 'I' * raw[3], raw[4:4 + 4 * raw[3]])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def weights(net, seed):
    g = torch.Generator().manual_seed(seed)
    w = {}
    for name, fan, out in NETS[net]:
        k = fan ** -0.5
        w[name + '.weight'] = (torch.rand(out, fan, generator=g) * 2 - 1) * k
        w[name + '.bias'] = (torch.rand(out, generator=g) * 2 - 1) * k
    return w


def save(path, tensors):
    head, blob = {}, b''
    for name, t in tensors.items():
        b = t.numpy().astype('<f4').tobytes()
        head[name] = {'dtype': 'F32', 'shape': list(t.shape), 'data_offsets': [len(blob), len(blob) + len(b)]}
        blob += b
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + blob)


def orders(epochs, rows, n, seed):
    g = torch.Generator().manual_seed(seed + 1)
    return np.stack([torch.randperm(n, generator=g).numpy()[:rows] for _ in range(epochs)]).astype(np.int64)


def forward(net, p, x):
    layers = NETS[net]
    for i, (name, _, _) in enumerate(layers):
        x = x @ p[name + '.weight'].T + p[name + '.bias']
        if net == 'relu':
            x = torch.relu(x) if i + 1 < len(layers) else x
        elif i + 1 < len(layers) or net == 'slp' or net == 'mlp':
            x = torch.sigmoid(x)
    return x


def run(case, images, labels, rows, steps, dtype, seed):
    net, loss, optimizer, schedule, clip = CASES[case]
    p = {k: v.to(dtype).requires_grad_() for k, v in weights(net, seed).items()}
    opt = optimizer(list(p.values()))
    lr = opt.param_groups[0]['lr']
    losses = []
    for step, r in enumerate(rows[:steps], 1):
        x = torch.from_numpy(images[r].reshape(len(r), 784)).to(dtype) / 255
        y = torch.from_numpy(labels[r].astype(np.int64))
        out = forward(net, p, x)
        if loss == 'mse':
            l = ((out - torch.nn.functional.one_hot(y, 10).to(dtype)) ** 2).mean()
        else:
            l = torch.nn.functional.cross_entropy(out, y)
        opt.zero_grad()
        l.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(p.values(), clip)
        if schedule:
            opt.param_groups[0]['lr'] = lr * schedule(step, steps)
        opt.step()
        losses.append(l.item())
    return losses


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
    order = orders(a.epochs, a.rows, len(labels), a.seed)
    np.save(os.path.join(a.out, 'order.npy'), order)
    rows = [e[i:i + BATCH] for e in order for i in range(0, a.rows, BATCH)]
    for case in a.case or CASES:
        net = CASES[case][0]
        save(os.path.join(a.out, net + '.safetensors'), weights(net, a.seed))
        losses = run(case, images, labels, rows, a.steps, torch.float64 if a.float == 64 else torch.float32, a.seed)
        with open(os.path.join(a.out, case + '.csv'), 'w') as f:
            f.write('step,loss\n')
            for step, l in enumerate(losses, 1):
                f.write('%d,%.17g\n' % (step, l))


if __name__ == '__main__':
    main()
