"""figures.py - what PyTorch reaches with the settings of models/: the figures beside ours in models/README.md.

    python3 figures.py MODEL --data DIR [--seed 1] [--epochs N] [--threads 1]

MODEL is lenet, cnn, resnet, lstm or gpt.  DIR has the four IDX files, or book.txt.  Modules are those of models.py.
"""
import argparse
import math
import os
import sys
import time
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'reference'))
import models
import record

F = torch.nn.functional


def images(folder):
    """Of train and test: images u8 [N, 28, 28], class numbers."""
    path = lambda split, kind: os.path.join(folder, f'{split}-{kind}-ubyte.gz')
    return [(torch.from_numpy(record.idx(path(s, 'images-idx3')).copy()), torch.from_numpy(record.idx(path(s, 'labels-idx1')).astype(np.int64)))
            for s in ('train', 't10k')]


def text(folder, context, numbered):
    """Rows of context bytes and those one further, of the first nine tenths and of the rest."""
    book = np.frombuffer(open(os.path.join(folder, 'book.txt'), 'rb').read(), np.uint8)
    if numbered:
        book = np.unique(book, return_inverse=True)[1].astype(np.uint8)
    cut = int(len(book) * 0.9)
    rows = lambda a, shift: torch.from_numpy(np.stack([a[i + shift:i + shift + context] for i in range(0, len(a) - context, context)]).astype(np.int64))
    return [(rows(part, 0), rows(part, 1)) for part in (book[:cut], book[cut:])]


def moved(image, room=2):
    """Each image up to so many places aside, and half of them mirrored."""
    n, h, w = image.shape
    wide = F.pad(image, (room,) * 4)
    at = torch.randint(0, 2 * room + 1, (2, n))
    rows = (at[0][:, None] + torch.arange(h))[:, :, None]
    columns = (at[1][:, None] + torch.arange(w))[:, None, :]
    out = wide[torch.arange(n)[:, None, None], rows, columns]
    return torch.where(torch.rand(n)[:, None, None] < 0.5, out.flip(2), out)


def cosine(lr, least, warmup, steps):
    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return (least + 0.5 * (lr - least) * (1 + math.cos(math.pi * (step + 1 - warmup) / (steps - warmup)))) / lr
    return factor


def setting(name, net, steps):
    """Optimizer, schedule or None, largest norm or None."""
    if name == 'resnet':
        o = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        return o, torch.optim.lr_scheduler.LambdaLR(o, cosine(0.1, 0, 200, steps)), None
    if name == 'gpt':
        for t in (net.wte.weight, net.wpe.weight):
            torch.nn.init.normal_(t, std=0.02)
        o = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
        return o, torch.optim.lr_scheduler.LambdaLR(o, cosine(1e-3, 1e-4, 100, steps)), 1.0
    return torch.optim.Adam(net.parameters(), lr=2e-3 if name == 'lstm' else 1e-3), None, 1.0 if name == 'lstm' else None


def loss_of(out, want): return F.cross_entropy(out.reshape(-1, out.shape[-1]), want.reshape(-1))


def evaluate(net, x, y):
    net.eval()
    with torch.no_grad():
        parts = [(loss_of(o, w).item() * len(w), (o.argmax(-1) == w).float().mean().item() * len(w))
                 for w, o in ((y[i:i + 250], net(x[i:i + 250])) for i in range(0, len(y), 250))]
    net.train()
    return [sum(p) / len(y) for p in zip(*parts)]


def train(args):
    batch, epochs = {'lenet': (64, 3), 'cnn': (64, 5), 'resnet': (128, 10), 'lstm': (16, 10), 'gpt': (16, 20)}[args.model]
    epochs = args.epochs or epochs
    recurrent = args.model in ('lstm', 'gpt')
    (x, y), (tx, ty) = text(args.data, 64 if args.model == 'lstm' else 128, args.model == 'lstm') if recurrent else images(args.data)
    net = models.MODELS[args.model].module(*models.MODELS[args.model].full)
    steps = len(x) // batch
    o, schedule, clip = setting(args.model, net, steps * epochs)
    for epoch in range(1, epochs + 1):
        began, order = time.time(), torch.randperm(len(x))
        for i in range(steps):
            rows = order[i * batch:(i + 1) * batch]
            loss = loss_of(net(moved(x[rows]) if args.model == 'resnet' else x[rows]), y[rows])
            o.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            o.step()
            if schedule:
                schedule.step()
        seconds = time.time() - began
        print('epoch %d: test loss=%.4f accuracy=%.4f  %.2f s' % (epoch, *evaluate(net, tx, ty), seconds), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', choices=['lenet', 'cnn', 'resnet', 'lstm', 'gpt'])
    parser.add_argument('--data', required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--epochs', type=int)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == '__main__':
    main()
