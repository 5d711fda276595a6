"""cases.py - the rows of record.py: layers, activations and losses, as nnd says them and as PyTorch does.

    layer(NAME, what nnd's net returns, a function that makes the torch module, inputs...)
    point(NAME, what nnd's net returns, the same in PyTorch, inputs...)
    loss(NAME, what nnd makes of net(p), the same in PyTorch, p, other inputs...)

An input is a function that makes it: drawn, or given.  Those that need no gradient are fixed.
"""
from dataclasses import dataclass, field
from typing import Callable
import torch
from torch import nn

F = torch.nn.functional
NAN, INF = float('nan'), float('inf')


@dataclass
class Row:
    name: str
    says: str                    # the net, in nnd
    torch: Callable              # of the inputs; of nothing, if it makes a module
    inputs: dict
    is_module: bool = False
    loss: str = None             # in nnd, of net(p)
    trained: str = None          # instead of the net in the training step
    result: Callable = field(default=lambda y: y)


def drawn(*size, scale=1.0):
    return lambda: (torch.randn(size) * scale).requires_grad_()


def share(*size):
    return lambda: (torch.rand(size) * 0.98 + 0.01).requires_grad_()


def rows_of_shares(*size):
    return lambda: torch.softmax(torch.randn(size), -1).requires_grad_()


def logs_of_shares(*size):
    return lambda: torch.log_softmax(torch.randn(size), -1).requires_grad_()


def given(values):
    return lambda: torch.tensor(values, dtype=torch.float64).requires_grad_()


def fixed(make):
    return lambda: make().detach()


def numbers(below, *size):
    return lambda: torch.randint(below, size)


def classes(*values):
    return lambda: torch.tensor(values)


ROWS = []


def layer(name, says, module, **inputs):
    ROWS.append(Row(name, 'layer: ' + says, module, inputs, is_module=True))


def point(name, says, compute, **inputs):
    ROWS.append(Row(name, says, compute, inputs))


def loss(name, says, compute, **inputs):
    ROWS.append(Row(name, says, compute, inputs, loss=says))


# ---- linear ----

layer('linear/plain', 'linear(x, 5)', lambda: nn.Linear(7, 5), x=drawn(4, 7))
layer('linear/no_bias', 'linear(x, 5, bias: false)', lambda: nn.Linear(3, 5, bias=False), x=drawn(6, 3))
layer('linear/three_axes', 'linear(x, 2)', lambda: nn.Linear(3, 2), x=drawn(2, 5, 3))
layer('linear/one_by_one', 'linear(x, 1)', lambda: nn.Linear(1, 1), x=drawn(1, 1))
layer('linear/one_row', 'linear(x, 17)', lambda: nn.Linear(33, 17), x=drawn(1, 33))
layer('linear/one_output', 'linear(x, 1)', lambda: nn.Linear(9, 1), x=drawn(19, 9))

# ---- norms ----

layer('layer_norm/plain', 'layer_norm(x)', lambda: nn.LayerNorm(6), x=drawn(4, 6))
layer('layer_norm/three_axes', 'layer_norm(x, eps: 0.1)', lambda: nn.LayerNorm(5, eps=0.1), x=drawn(2, 3, 5))
layer('layer_norm/one_row', 'layer_norm(x)', lambda: nn.LayerNorm(20), x=drawn(1, 20))
# eps is a square here: PyTorch's own rounding would be all there is to see
layer('layer_norm/size_one', 'layer_norm(x, eps: 0.25)', lambda: nn.LayerNorm(1, eps=0.25), x=drawn(3, 1))
layer('layer_norm/far_from_zero', 'layer_norm(x)', lambda: nn.LayerNorm(4), x=given([[1e3, 1e3 + 1, 1e3 - 2, 1e3], [3, 3, 3, 4.]]))
layer('rms_norm/plain', 'rms_norm(x, eps: 1e-5)', lambda: nn.RMSNorm(6, eps=1e-5), x=drawn(4, 6))
layer('rms_norm/three_axes', 'rms_norm(x, eps: 0.1)', lambda: nn.RMSNorm(5, eps=0.1), x=drawn(2, 3, 5))
layer('rms_norm/size_one', 'rms_norm(x, eps: 1e-3)', lambda: nn.RMSNorm(1, eps=1e-3), x=drawn(3, 1))
layer('rms_norm/eps_of_f32', 'rms_norm(x)', lambda: nn.RMSNorm(3, eps=torch.finfo(torch.float32).eps), x=drawn(5, 3, scale=1e-3))
layer('group_norm/two_groups', 'group_norm(x, 2)', lambda: nn.GroupNorm(2, 6), x=drawn(3, 6, 4))
layer('group_norm/images', 'group_norm(x, 3, eps: 0.01)', lambda: nn.GroupNorm(3, 6, eps=0.01), x=drawn(2, 6, 3, 5))
layer('group_norm/one_group', 'group_norm(x, 1)', lambda: nn.GroupNorm(1, 5), x=drawn(1, 5, 2))
layer('group_norm/each_channel', 'group_norm(x, 4)', lambda: nn.GroupNorm(4, 4), x=drawn(2, 4, 3, 1))
layer('group_norm/no_places', 'group_norm(x, 2)', lambda: nn.GroupNorm(2, 8), x=drawn(3, 8))
layer('batch_norm/plain', 'batch_norm(x)', lambda: nn.BatchNorm1d(5), x=drawn(6, 5))
layer('batch_norm/momentum', 'batch_norm(x, momentum: 0.3, eps: 0.01)', lambda: nn.BatchNorm1d(3, momentum=0.3, eps=0.01), x=drawn(4, 3))
layer('batch_norm/rows', 'batch_norm(x)', lambda: nn.BatchNorm1d(3), x=drawn(4, 3, 5))
layer('batch_norm/images', 'batch_norm(x)', lambda: nn.BatchNorm2d(4), x=drawn(3, 4, 2, 5))
layer('batch_norm/one_image', 'batch_norm(x)', lambda: nn.BatchNorm2d(3), x=drawn(1, 3, 2, 2))
layer('batch_norm/two_numbers', 'batch_norm(x)', lambda: nn.BatchNorm1d(1), x=drawn(2, 1))
layer('batch_norm/far_from_zero', 'batch_norm(x)', lambda: nn.BatchNorm1d(2), x=given([[1e3, -1e3], [1e3 + 1, -1e3], [1e3 - 2, 1 - 1e3]]))

# ---- embedding, attention, dropout ----

layer('embedding/plain', 'embedding(x, 7, 3)', lambda: nn.Embedding(7, 3), x=numbers(7, 4, 5))
layer('embedding/one_axis', 'embedding(x, 3, 4)', lambda: nn.Embedding(3, 4), x=classes(2, 0, 0, 2, 2))
layer('embedding/one_number', 'embedding(x, 1, 2)', lambda: nn.Embedding(1, 2), x=classes(0))
layer('embedding/one_wide', 'embedding(x, 9, 1)', lambda: nn.Embedding(9, 1), x=numbers(9, 2, 2, 2))


class SelfAttention(nn.MultiheadAttention):
    """Of x with itself; causal: a place sees none behind it."""

    def __init__(self, width, heads, causal):
        super().__init__(width, heads, batch_first=True)
        self.causal = causal

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        return super().forward(x, x, x, attn_mask=mask, need_weights=False)[0]


def attention(name, n, t, width, heads, causal=False, scale=1.0):
    says = f'multi_head_attention(x, {heads}' + (', causal: true)' if causal else ')')
    layer('multi_head_attention/' + name, says, lambda: SelfAttention(width, heads, causal), x=drawn(n, t, width, scale=scale))


attention('plain', 2, 5, 6, 2)
attention('causal', 2, 5, 6, 3, causal=True)
attention('one_head', 3, 4, 3, 1)
attention('a_head_each', 2, 3, 4, 4)
attention('one_place', 2, 1, 4, 2)
attention('one_place_causal', 1, 1, 2, 1, causal=True)
attention('large_scores', 1, 4, 4, 2, causal=True, scale=30)

ROWS.append(Row('dropout/none', 'dropout(x, p: 0)', lambda x: F.dropout(x, 0, True), dict(x=drawn(3, 4))))
ROWS.append(Row('dropout/evaluation', 'dropout(x, p: 0.7)', lambda x: F.dropout(x, 0.7, False), dict(x=drawn(3, 4)),
                trained='dropout(x, p: 0)'))

# ---- activations, where they bend and far out, too ----

BENDS = [[-1e3, -30, -6, -3.0], [-1, -0.5, -1e-9, 0.0], [1e-9, 0.5, 1, 3.0], [6, 20, 30, 1e3]]
CURVES = {
    'relu/plain': ('relu(x)', F.relu),
    'leaky_relu/plain': ('leaky_relu(x)', F.leaky_relu),
    'leaky_relu/steep': ('leaky_relu(x, negative_slope: 0.3)', lambda x: F.leaky_relu(x, 0.3)),
    'elu/plain': ('elu(x)', F.elu),
    'elu/alpha': ('elu(x, alpha: 0.4)', lambda x: F.elu(x, 0.4)),
    'silu/plain': ('silu(x)', F.silu),
    'gelu/exact': ('gelu(x)', F.gelu),
    'gelu/tanh': ('gelu(x, approximate: "tanh")', lambda x: F.gelu(x, approximate='tanh')),
    'softplus/plain': ('softplus(x)', F.softplus),
    'hardswish/plain': ('hardswish(x)', F.hardswish),
    'sigmoid/plain': ('sigmoid(x)', torch.sigmoid),
    'tanh/plain': ('tanh(x)', torch.tanh),
}
for name, (says, compute) in CURVES.items():
    point(name, says, compute, x=given(BENDS))
    point(name.replace('plain', 'drawn') if 'plain' in name else name + '_drawn', says, compute, x=drawn(3, 1, 5, scale=2))

point('softplus/far_below', 'softplus(x)', F.softplus, x=given([[-30, -25.0], [-20, -10]]))

for name, compute in {'softmax': lambda x: F.softmax(x, -1), 'log_softmax': lambda x: F.log_softmax(x, -1)}.items():
    point(name + '/plain', name + '(x)', compute, x=drawn(4, 6))
    point(name + '/three_axes', name + '(x)', compute, x=drawn(2, 3, 5))
    point(name + '/one_class', name + '(x)', compute, x=drawn(3, 1))
    point(name + '/ties', name + '(x)', compute, x=given([[1, 1, 1, 1.0], [2, 2, -1, 0], [0, -800, -800, 0]]))
    point(name + '/far_apart', name + '(x)', compute, x=given([[1e3, -1e3, 0], [-1e3, -1e3, -1e3 - 1], [700, 710, 720.0]]))

# ---- operations that layers are made of ----

for name, compute in {'abs': torch.abs, 'exp': torch.exp, 'erf': torch.erf, 'sin': torch.sin, 'cos': torch.cos}.items():
    point(f'operations/{name}', f'{name}(x)', compute, x=given([[-3, -1, -0.25, 0.0], [0, 0.5, 2, 5]]))
for name, compute in {'log': torch.log, 'sqrt': torch.sqrt}.items():
    point(f'operations/{name}', f'{name}(x)', compute, x=given([[1e-6, 0.5, 1.0], [2, 3, 1e6]]))
point('operations/powers', 'x^2 - 3 * x^3 + x^(-1) + abs(x)^0.5', lambda x: x**2 - 3 * x**3 + x**-1 + abs(x)**0.5, x=given([[-2, -0.5, 1.0], [0.25, 3, 10]]))
point('operations/max', 'max(x, axis: -1)', lambda x: x.amax(-1), x=given([[1, 3, 3.0], [2, 2, 2], [-1, -2, -5]]))
point('operations/min', 'min(x, axis: 1, keep: true)', lambda x: x.amin(1, keepdim=True), x=given([[1, 3, 3.0], [2, 2, 2], [-1, -5, -5]]))
point('operations/maximum', 'maximum(x, y)', torch.maximum, x=given([[1, 2, 3.0]]), y=given([[2, 2, 2.0]]))
point('operations/minimum', 'minimum(x, y)', torch.minimum, x=given([[1, 2, 3.0]]), y=given([[2, 2, 2.0]]))
point('operations/transpose', 'transpose(x, [0, 2, 1])', lambda x: x.transpose(1, 2), x=drawn(2, 3, 4))
point('operations/product', 'x @ y', torch.bmm, x=drawn(2, 3, 4), y=drawn(2, 4, 5))

# ---- shapes and means ----

point('flatten/images', 'flatten(x)', lambda x: x.flatten(1), x=drawn(3, 2, 4, 1))
point('flatten/two_axes', 'flatten(x)', lambda x: x.flatten(1), x=drawn(1, 5))
point('mean/last_axis', 'mean(x, axis: -1)', lambda x: x.mean(-1), x=drawn(3, 5))
point('mean/kept', 'mean(x, axis: 1, keep: true)', lambda x: x.mean(1, keepdim=True), x=drawn(2, 3, 4))
point('mean/size_one', 'mean(x, axis: 1)', lambda x: x.mean(1), x=drawn(4, 1))
loss('mean/all', 'mean(net(p))', lambda p: p.mean(), p=drawn(3, 4))
loss('mean/first_axis', 'mean(net(p), axis: 0)', lambda p: p.mean(0), p=drawn(3, 4))
loss('one_hot/plain', 'net(p) * one_hot(label, 4)', lambda p, label: p * F.one_hot(label, 4), p=drawn(5, 4), label=classes(3, 0, 1, 3, 2))
loss('one_hot/one_class', 'net(p) * one_hot(label, 1)', lambda p, label: p * F.one_hot(label, 1), p=drawn(2, 1), label=classes(0, 0))

# ---- losses ----

for name, compute in {'mse': F.mse_loss, 'l1': F.l1_loss, 'huber': F.huber_loss}.items():
    says = name + '(net(p), y)'
    loss(name + '/plain', says, compute, p=drawn(4, 3), y=drawn(4, 3))
    loss(name + '/one_number', says, compute, p=drawn(1, 1), y=drawn(1, 1))
    loss(name + '/one_axis', says, compute, p=drawn(9), y=fixed(drawn(9)))
    loss(name + '/bends', says, compute, p=given([[0, 1, 2, 1e3], [0.5, -1, 1, -1e3]]), y=given([[0, 0, 1, 0.0], [0, 0, 1, 1]]))
loss('huber/delta', 'huber(net(p), y, delta: 0.3)', lambda p, y: F.huber_loss(p, y, delta=0.3),
     p=given([[0, 0.3, 0.29, 1], [-0.3, -0.31, 5, 0.1]]), y=given([[0, 0, 0, 0.0], [0, 0, 0, 0]]))

LABELS = dict(p=drawn(6, 4), label=classes(0, 3, 1, 1, 2, 3))
loss('cross_entropy/plain', 'cross_entropy(net(p), label)', F.cross_entropy, **LABELS)
loss('cross_entropy/smoothing', 'cross_entropy(net(p), label, smoothing: 0.1)',
     lambda p, label: F.cross_entropy(p, label, label_smoothing=0.1), **LABELS)
loss('cross_entropy/all_smooth', 'cross_entropy(net(p), label, smoothing: 1)',
     lambda p, label: F.cross_entropy(p, label, label_smoothing=1.0), **LABELS)
loss('cross_entropy/ignore', 'cross_entropy(net(p), label, ignore: 3)',
     lambda p, label: F.cross_entropy(p, label, ignore_index=3), **LABELS)
loss('cross_entropy/ignore_zero', 'cross_entropy(net(p), label, ignore: 0)',
     lambda p, label: F.cross_entropy(p, label, ignore_index=0), **LABELS)
loss('cross_entropy/ignore_none', 'cross_entropy(net(p), label, ignore: 3)',
     lambda p, label: F.cross_entropy(p, label, ignore_index=3), p=drawn(2, 4), label=classes(0, 1))
loss('cross_entropy/ignore_outside', 'cross_entropy(net(p), label, ignore: 255)',
     lambda p, label: F.cross_entropy(p, label, ignore_index=255), p=drawn(4, 3), label=classes(0, 255, 2, 255))
loss('cross_entropy/ignore_and_smoothing', 'cross_entropy(net(p), label, smoothing: 0.2, ignore: 1)',
     lambda p, label: F.cross_entropy(p, label, label_smoothing=0.2, ignore_index=1), **LABELS)
loss('cross_entropy/impossible', 'cross_entropy(net(p), label)', F.cross_entropy, p=given([[1, -INF, 2.0], [-INF, -INF, 3]]), label=classes(2, 2))
loss('nll/impossible', 'nll(net(p), label)', F.nll_loss, p=given([[-1, -INF, -2.0], [-INF, -INF, 0]]), label=classes(0, 2))
loss('cross_entropy/one_row', 'cross_entropy(net(p), label)', F.cross_entropy, p=drawn(1, 5), label=classes(4))
loss('cross_entropy/one_class', 'cross_entropy(net(p), label, smoothing: 0.5)',
     lambda p, label: F.cross_entropy(p, label, label_smoothing=0.5), p=drawn(3, 1), label=classes(0, 0, 0))
loss('cross_entropy/far_apart', 'cross_entropy(net(p), label)', F.cross_entropy,
     p=given([[1e3, -1e3, 0], [1e3, -1e3, 0], [0, 0, 0.0]]), label=classes(0, 1, 2))
loss('nll/plain', 'nll(net(p), label)', F.nll_loss, p=logs_of_shares(5, 3), label=classes(0, 2, 2, 1, 0))
loss('nll/one_row', 'nll(net(p), label)', F.nll_loss, p=logs_of_shares(1, 2), label=classes(1))


def batchmean(p, y): return F.kl_div(p, y, reduction='batchmean')


loss('kl_div/plain', 'kl_div(net(p), y)', batchmean, p=logs_of_shares(4, 3), y=rows_of_shares(4, 3))
loss('kl_div/one_row', 'kl_div(net(p), y)', batchmean, p=logs_of_shares(1, 5), y=fixed(rows_of_shares(1, 5)))
loss('kl_div/zeros', 'kl_div(net(p), y)', batchmean, p=logs_of_shares(3, 3), y=fixed(given([[0, 0.25, 0.75], [1, 0, 0.0], [0, 0, 0]])))

loss('bce/plain', 'bce(net(p), y)', F.binary_cross_entropy, p=share(4, 3), y=fixed(share(4, 3)))
loss('bce/truths', 'bce(net(p), y)', F.binary_cross_entropy, p=share(6, 1), y=fixed(given([[0], [1], [1], [0], [0], [1.0]])))
loss('bce/targets', 'bce(net(p), y)', F.binary_cross_entropy, p=share(5), y=share(5))
loss('bce/ends', 'bce(net(p), y)', F.binary_cross_entropy, p=given([0, 0, 1, 1, 0, 1, 1e-12, 1 - 1e-13, 1e-13, 1e-6]),
     y=fixed(given([0, 1, 0, 1, 0.5, 0.5, 1, 0, 1, 1])))
# losses that are next to nothing keep their digits
loss('bce/near_truth', 'bce(net(p), y)', F.binary_cross_entropy, p=given([1e-9, 1e-12, 1e-10]), y=fixed(given([0, 0, 0.0])))
BCE = F.binary_cross_entropy_with_logits
loss('bce_with_logits/plain', 'bce_with_logits(net(p), y)', BCE, p=drawn(4, 3), y=share(4, 3))
loss('bce_with_logits/one_number', 'bce_with_logits(net(p), y)', BCE, p=drawn(1, 1), y=fixed(share(1, 1)))
loss('bce_with_logits/far', 'bce_with_logits(net(p), y)', BCE, p=given([-1e3, -40, -1, 0, 1, 40, 1e3, 1e3]),
     y=given([0, 1, 0, 0.5, 1, 0, 1, 0]))
loss('bce_with_logits/near_both_truths', 'bce_with_logits(net(p), y)', BCE, p=given([-5, 5, -9, 8.0]), y=fixed(given([0, 1, 0, 1.0])))
