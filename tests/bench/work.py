"""work.py - what the peers share: the workloads, their data, weights and order, and how a measurement is told.

A peer is a program: peer_X.py WORKLOAD MODE --work DIR --threads N.  It prints one line of JSON, {"seconds": S, "losses": [...]}, and what
went wrong as an exception.  DIR has images and labels (.npy), order.npy, book.txt and the initial weights MODEL.safetensors.
"""
import argparse
import json
import os
import time
from dataclasses import dataclass

import numpy as np


@dataclass
class Workload:
    name: str
    model: str               # of models/
    kind: str                # train, infer, start, notebook, memory
    batch: int
    steps: int               # timed; of infer: calls
    what: str
    unit: str
    scale: float             # seconds times this are the figure, over steps where it is a step's
    targets: float           # the best peer's figure / ours
    precision: str = 'f32'   # of products of matrices; another than f32 only on a GPU
    where: str = 'cpu cuda'

    @property
    def text(self):
        """The model's text, or program: MODEL, or MODEL-PRECISION."""
        return self.model + ('' if self.precision == 'f32' else '-' + self.precision)


WORKLOADS = [
    Workload('W1', 'slp', 'train', 64, 938, 'slp, an epoch', 's', 1, 2.0),
    Workload('W2', 'mlp', 'train', 64, 938, 'mlp, an epoch', 's', 1, 1.5),
    Workload('W3', 'mlp_adam', 'train', 128, 469, 'mlp_adam, an epoch', 's', 1, 1.4),
    Workload('W4', 'lenet', 'train', 64, 938, 'lenet, an epoch', 's', 1, 5.0),
    Workload('W4b', 'cnn', 'train', 64, 100, 'cnn, 100 steps', 's', 1, 2.5),
    Workload('W5', 'gpt', 'train', 16, 20, 'gpt, a step', 's', 1 / 20, 1.5),
    Workload('W6-mlp-1', 'mlp', 'infer', 1, 2000, 'mlp, a row', 'us', 1e6, 2.0),
    Workload('W6-mlp_adam-1', 'mlp_adam', 'infer', 1, 1000, 'mlp_adam, a row', 'us', 1e6, 1.4),
    Workload('W6-lenet-1', 'lenet', 'infer', 1, 1000, 'lenet, a row', 'us', 1e6, 2.0),
    Workload('W6-mlp-1024', 'mlp', 'infer', 1024, 50, 'mlp, 1024 rows', 'ms', 1e3, 1.3),
    Workload('W6-mlp_adam-1024', 'mlp_adam', 'infer', 1024, 20, 'mlp_adam, 1024 rows', 'ms', 1e3, 1.1),
    Workload('W6-lenet-1024', 'lenet', 'infer', 1024, 20, 'lenet, 1024 rows', 'ms', 1e3, 1.8),
    *(Workload(f'{name}-{p}', model, 'train', 64, steps, f'{model} in {p}, {what}', 's', 1, 0, p, 'cuda')
      for name, model, steps, what in (('W2', 'mlp', 938, 'an epoch'), ('W4b', 'cnn', 100, '100 steps')) for p in ('tf32', 'bf16')),
    *(Workload(f'W5-{p}', 'gpt', 'train', 16, 20, f'gpt in {p}, a step', 's', 1 / 20, 0, p, 'cuda') for p in ('tf32', 'bf16')),
    Workload('W7-mlp', 'mlp', 'start', 64, 1, 'mlp, start to first step', 's', 1, 8.0),
    Workload('W7-lenet', 'lenet', 'start', 64, 1, 'lenet, start to first step', 's', 1, 20.0),
    Workload('memory', 'mlp', 'memory', 64, 938, 'mlp, most memory of an epoch', 'MB', 1e-6, 3.0, where='cpu'),
    Workload('notebook', 'mlp', 'notebook', 64, 9380, 'mlp, 10 epochs and their tests', 's', 1, 7.0, where='cpu'),
]
CHECKED = 30                 # steps whose losses are compared
AGREE = {'f32': 1e-3, 'tf32': 1e-2, 'bf16': 3e-2}      # by how much they may differ: 24, 11 and 8 bits of the factors
WARM = 20                    # steps before the clock runs


def find(name): return next(w for w in WORKLOADS if w.name == name)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('workload')
    parser.add_argument('mode')
    parser.add_argument('--work', required=True)
    parser.add_argument('--threads', type=int, default=1)
    return parser.parse_args()


def images(folder, split='train'):
    """u8 [N, 28, 28] and class numbers i64 [N]."""
    return (np.load(os.path.join(folder, split + '-images.npy')), np.load(os.path.join(folder, split + '-labels.npy')).astype(np.int64))


def text(folder, context=128):
    """Rows of bytes and those one further, of the first nine tenths of book.txt."""
    book = np.fromfile(os.path.join(folder, 'book.txt'), np.uint8)
    book = book[:int(len(book) * 0.9)]
    at = range(0, len(book) - context, context)
    return np.stack([book[i:i + context] for i in at]), np.stack([book[i + 1:i + 1 + context] for i in at])


def rows(w, folder):
    """Inputs, targets, and the numbers of all steps' rows."""
    x, y = text(folder) if w.model == 'gpt' else images(folder)
    order = np.load(os.path.join(folder, 'order_gpt.npy' if w.model == 'gpt' else 'order.npy'))[0]
    return x, y, order[:len(order) // w.batch * w.batch].reshape(-1, w.batch)


def timed(run, n):
    """Seconds of run(i) for i in n numbers, one after the other; run's results are waited for by its caller's last."""
    begun = time.perf_counter()
    for i in range(n):
        run(i)
    return (time.perf_counter() - begun) / n


def tell(seconds, losses=()):
    print(json.dumps({'seconds': seconds, 'losses': [float(v) for v in losses]}), flush=True)
