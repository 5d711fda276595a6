"""record_gpt.py - record.py's part for models/gpt.nnd made small: width 32, 2 blocks of 4 heads, context 16, batch 4.

Its rows are those of a text of our own, book.txt, in an order of their own, order_gpt.npy: both follow from the seed.
"""
import math, os, random
import numpy as np
import torch

F = torch.nn.functional
WIDTH, HEADS, BLOCKS, CONTEXT, BATCH, EPOCHS, ROWS = 32, 4, 2, 16, 4, 4, 200
LENGTH, TRAIN = 4000, 3600          # bytes; the rest is the test split
WORDS = 'the a small old red house dog river sees finds under over near and then it was never seen again'.split()


def text(seed):
    draw, words = random.Random(seed), []
    while sum(map(len, words)) < LENGTH:
        words += [draw.choice(WORDS) + ' ' for _ in range(draw.randint(4, 9))] + ['.\n']
    return ''.join(words).replace(' .', '.').ljust(LENGTH)[:LENGTH].encode()


def weights(seed):
    g = torch.Generator().manual_seed(seed)
    linear = {'attn.in_proj_': (3 * WIDTH, WIDTH), 'attn.out_proj.': (WIDTH, WIDTH), 'c_fc.': (4 * WIDTH, WIDTH), 'c_proj.': (WIDTH, 4 * WIDTH)}
    w = {'wte.weight': torch.randn(256, WIDTH, generator=g) * 0.1, 'wpe.weight': torch.randn(CONTEXT, WIDTH, generator=g) * 0.1}
    for name, (out, fan) in ((f'h.{l}.{n}', s) for l in range(BLOCKS) for n, s in linear.items()):
        w[name + 'weight'] = (torch.rand(out, fan, generator=g) * 2 - 1) * fan ** -0.5
        w[name + 'bias'] = (torch.rand(out, generator=g) * 2 - 1) * fan ** -0.5
    for name in [f'h.{l}.ln_{i}.' for l in range(BLOCKS) for i in (1, 2)] + ['ln_f.']:
        w[name + 'weight'] = torch.rand(WIDTH, generator=g) + 0.5
        w[name + 'bias'] = torch.rand(WIDTH, generator=g) - 0.5
    return w


def forward(p, x):
    mask = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)

    def norm(x, name): return F.layer_norm(x, [WIDTH], p[name + '.weight'], p[name + '.bias'])
    def linear(x, name): return x @ p[name + '.weight'].T + p[name + '.bias']

    x = F.embedding(x, p['wte.weight']) + p['wpe.weight']
    for l in range(BLOCKS):
        b = f'h.{l}.'
        h = norm(x, b + 'ln_1').transpose(0, 1)
        y, _ = F.multi_head_attention_forward(h, h, h, WIDTH, HEADS, p[b + 'attn.in_proj_weight'], p[b + 'attn.in_proj_bias'], None, None,
                                              False, 0.0, p[b + 'attn.out_proj.weight'], p[b + 'attn.out_proj.bias'], attn_mask=mask)
        x = x + y.transpose(0, 1)
        x = x + linear(F.gelu(linear(norm(x, b + 'ln_2'), b + 'c_fc')), b + 'c_proj')
    return norm(x, 'ln_f') @ p['wte.weight'].T


def loss(p, book, begin):
    """The mean over rows that begin at these bytes."""
    at = torch.from_numpy(begin)[:, None] + torch.arange(CONTEXT)
    return F.cross_entropy(forward(p, book[at]).reshape(-1, 256), book[at + 1].reshape(-1))


def rate(step, steps):
    if step <= 100:
        return 1e-3 * step / 100
    return 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * (step - 100) / (steps - 100)))


def run(out, steps, dtype, seed):
    """Writes book.txt and order_gpt.npy too; the losses, and that of the test split."""
    raw = text(seed)
    with open(os.path.join(out, 'book.txt'), 'wb') as f:
        f.write(raw)
    book = torch.tensor(list(raw))
    g = torch.Generator().manual_seed(seed + 1)
    n = (TRAIN - CONTEXT - 1) // CONTEXT + 1
    order = np.stack([torch.randperm(n, generator=g).numpy()[:ROWS] for _ in range(EPOCHS)]).astype(np.int64)
    np.save(os.path.join(out, 'order_gpt.npy'), order)
    p = {k: v.to(dtype).requires_grad_() for k, v in weights(seed).items()}
    opt = torch.optim.AdamW(p.values(), weight_decay=0.1)
    losses = []
    for step, rows in enumerate(order.reshape(-1, BATCH)[:steps], 1):
        l = loss(p, book, rows * CONTEXT)
        opt.zero_grad()
        l.backward()
        torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
        opt.param_groups[0]['lr'] = rate(step, steps)
        opt.step()
        losses.append(l.item())
    with torch.no_grad():
        return losses, loss(p, book, np.arange(TRAIN, LENGTH - CONTEXT, CONTEXT)).item()
