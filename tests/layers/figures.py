"""figures.py - what PyTorch reaches with the settings of models/: the figures beside ours in models/README.md.

    python3 figures.py MODEL --data DIR [--seed 1] [--epochs N] [--threads 1]

MODEL is a file of models/ without its ending.  DIR has the four IDX files, or book.txt.  Modules are those of models.py.
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
    if name in ('slp', 'mlp'):
        return torch.optim.SGD(net.parameters(), lr=0.5), None, None
    return torch.optim.Adam(net.parameters(), lr=2e-3 if name == 'lstm' else 1e-3), None, 1.0 if name == 'lstm' else None


def loss_of(out, want): return F.cross_entropy(out.reshape(-1, out.shape[-1]), want.reshape(-1))


def vae_loss(net, x):
    x = x.flatten(1) / 255
    h = F.relu(net.encoder.fc1(x))
    middle, logvar = net.center(h), net.logvar(h)
    lost = 784 * F.binary_cross_entropy_with_logits(net.decoder(middle + torch.exp(0.5 * logvar) * torch.randn_like(middle)), x)
    return lost - 0.5 * (1 + logvar - middle ** 2 - logvar.exp()).sum(1).mean()


def loss_and_figure(name, net, x, y):
    """Of a batch: its loss, and the share of right answers where there are classes."""
    if name == 'vae':
        return vae_loss(net, x), 0.0
    out = net(x)
    if name == 'autoencoder':
        return F.mse_loss(out, x.flatten(1) / 255), 0.0
    if name in ('slp', 'mlp'):
        return F.mse_loss(out, F.one_hot(y, 10).float()), (out.argmax(-1) == y).float().mean().item()
    return loss_of(out, y), (out.argmax(-1) == y).float().mean().item()


def evaluate(name, net, x, y):
    net.eval()
    with torch.no_grad():
        parts = [[v * len(w) for v in (l.item(), a)] for w, (l, a) in
                 ((y[i:i + 250], loss_and_figure(name, net, x[i:i + 250], y[i:i + 250])) for i in range(0, len(y), 250))]
    net.train()
    return [sum(p) / len(y) for p in zip(*parts)]


def train_gan(args):
    """Means of an epoch: the discriminator's loss, the generator's, the share that the discriminator tells apart."""
    (x, _), _ = images(args.data)
    net = models.Gan(784, 256, 512, 64)
    d = lambda v: net.d.fc2(F.leaky_relu(net.d.fc1(v), 0.2))
    judge = F.binary_cross_entropy_with_logits
    od, og = (torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)) for part in (net.d, net.g))
    for epoch in range(1, (args.epochs or 5) + 1):
        order, sums = torch.randperm(len(x)), np.zeros(3)
        for i in range(len(x) // 128):
            real = x[order[i * 128:(i + 1) * 128]].flatten(1) / 127.5 - 1
            fake = net(torch.randn(128, 64))
            says_real, says_fake = d(real), d(fake.detach())
            ones, told = torch.ones_like(says_real), 0.5 * ((says_real > 0).float().mean() + (says_fake < 0).float().mean())
            loss = judge(says_real, ones) + judge(says_fake, 1 - ones)
            od.zero_grad()
            loss.backward()
            od.step()
            fooled = judge(d(fake), ones)
            og.zero_grad()
            fooled.backward()
            og.step()
            sums += [loss.item(), fooled.item(), told.item()]
        print('epoch %d: loss=%.4f loss_g=%.4f told_apart=%.3f' % (epoch, *(sums / (len(x) // 128))), flush=True)


SIZES = {'slp': (64, 10), 'mlp': (64, 10), 'mlp_adam': (128, 5), 'autoencoder': (128, 5), 'vae': (128, 5), 'lenet': (64, 3), 'cnn': (64, 5),
         'resnet': (128, 10), 'lstm': (16, 10), 'gpt': (16, 20)}      # batch, epochs


def train(args):
    batch, epochs = SIZES[args.model]
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
            loss, _ = loss_and_figure(args.model, net, moved(x[rows]) if args.model == 'resnet' else x[rows], y[rows])
            o.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            o.step()
            if schedule:
                schedule.step()
        seconds = time.time() - began
        print('epoch %d: test loss=%.4f accuracy=%.4f  %.2f s' % (epoch, *evaluate(args.model, net, tx, ty), seconds), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', choices=[*SIZES, 'gan'])
    parser.add_argument('--data', required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--epochs', type=int)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    train_gan(args) if args.model == 'gan' else train(args)


if __name__ == '__main__':
    main()
