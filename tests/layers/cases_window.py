"""cases_window.py - more rows for record.py: convolutions, pools and recurrent layers."""
import torch
from torch import nn
from cases import F, INF, NAN, drawn, given, layer, numbers, point


def said(name, *numbers, **settings):
    return f'{name}(' + ', '.join(['x', *map(str, numbers)] + [f'{k}: {str(v).lower()}' for k, v in settings.items()]) + ')'


# ---- convolutions: in channels, out channels, kernel; the settings are called as in PyTorch ----

def conv(kind, name, wide, out, kernel, *places, n=2, **settings):
    module = {'conv1d': nn.Conv1d, 'conv2d': nn.Conv2d, 'conv_transpose2d': nn.ConvTranspose2d}[kind]
    layer(f'{kind}/{name}', said(kind, out, kernel, **settings), lambda: module(wide, out, kernel, **settings), x=drawn(n, wide, *places))


conv('conv1d', 'plain', 3, 4, 3, 8)
conv('conv1d', 'one_wide', 3, 2, 1, 5)
conv('conv1d', 'whole_window', 2, 3, 6, 6)
conv('conv1d', 'stride', 2, 3, 3, 11, stride=2)
conv('conv1d', 'stride_beyond_kernel', 2, 3, 2, 12, stride=5)
conv('conv1d', 'padding', 2, 3, 3, 7, padding=1)
conv('conv1d', 'padding_beyond_kernel', 2, 2, 2, 3, padding=3)
conv('conv1d', 'dilation', 2, 3, 3, 9, dilation=3)
conv('conv1d', 'groups', 4, 6, 3, 7, groups=2)
conv('conv1d', 'groups_are_channels', 5, 5, 3, 7, groups=5, padding=1)
conv('conv1d', 'no_bias', 2, 3, 3, 5, bias=False)
conv('conv1d', 'all_at_once', 4, 4, 3, 13, n=1, stride=2, padding=2, dilation=2, groups=2, bias=False)
conv('conv1d', 'size_one', 1, 1, 1, 1, n=1)

conv('conv2d', 'plain', 3, 4, 3, 6, 5)
conv('conv2d', 'one_wide', 3, 2, 1, 4, 3)
conv('conv2d', 'even_kernel', 2, 3, 2, 5, 4)
conv('conv2d', 'whole_window', 2, 3, 4, 4, 4)
conv('conv2d', 'stride', 2, 3, 3, 8, 7, stride=2)
conv('conv2d', 'stride_beyond_kernel', 2, 3, 2, 9, 8, stride=3)
conv('conv2d', 'one_wide_stride', 2, 3, 1, 5, 6, stride=2)
conv('conv2d', 'padding', 2, 3, 3, 4, 5, padding=1)
conv('conv2d', 'padding_beyond_kernel', 1, 2, 2, 2, 3, padding=3)
conv('conv2d', 'smaller_than_kernel', 2, 2, 5, 3, 2, padding=2)
conv('conv2d', 'dilation', 2, 3, 3, 7, 6, dilation=2)
conv('conv2d', 'groups', 4, 6, 3, 5, 4, groups=2)
conv('conv2d', 'groups_are_channels', 5, 5, 3, 4, 4, groups=5, padding=1)
conv('conv2d', 'groups_are_channels_twice', 3, 6, 3, 4, 4, groups=3)
conv('conv2d', 'no_bias', 2, 3, 3, 4, 4, bias=False)
conv('conv2d', 'all_at_once', 4, 4, 3, 9, 8, n=1, stride=2, padding=2, dilation=2, groups=2, bias=False)
conv('conv2d', 'one_channel', 1, 1, 3, 5, 5, n=1)
conv('conv2d', 'size_one', 1, 1, 1, 1, 1, n=1)

conv('conv2d', 'pairs', 2, 3, [3, 2], 6, 7, stride=[2, 1], padding=[1, 2], dilation=[1, 2])

conv('conv_transpose2d', 'plain', 3, 4, 3, 4, 3)
conv('conv_transpose2d', 'one_wide', 3, 2, 1, 3, 4)
conv('conv_transpose2d', 'stride', 2, 3, 3, 3, 4, stride=2)
conv('conv_transpose2d', 'stride_beyond_kernel', 2, 3, 2, 3, 2, stride=3)
conv('conv_transpose2d', 'padding', 2, 3, 3, 4, 4, padding=1)
conv('conv_transpose2d', 'padding_of_all_but_one', 2, 3, 3, 3, 4, padding=2)
conv('conv_transpose2d', 'output_padding', 2, 3, 3, 3, 2, stride=2, padding=1, output_padding=1)
conv('conv_transpose2d', 'doubling', 3, 2, 4, 3, 3, stride=2, padding=1)
conv('conv_transpose2d', 'groups', 4, 6, 3, 3, 3, groups=2)
conv('conv_transpose2d', 'groups_are_channels', 3, 3, 2, 3, 4, groups=3, stride=2)
conv('conv_transpose2d', 'dilation', 2, 3, 3, 3, 4, dilation=2)
conv('conv_transpose2d', 'no_bias', 2, 3, 2, 3, 3, bias=False)
conv('conv_transpose2d', 'all_at_once', 4, 4, 3, 3, 2, n=1, stride=3, padding=1, output_padding=2, groups=2, bias=False, dilation=2)
conv('conv_transpose2d', 'size_one', 1, 1, 1, 1, 1, n=1)

conv('conv_transpose2d', 'pairs', 2, 3, [3, 2], 3, 2, stride=[2, 3], padding=[1, 0], output_padding=[1, 2], dilation=[1, 2])

# ---- pools ----

def pool(kind, name, kernel, x, **settings):
    compute = {'max_pool2d': F.max_pool2d, 'avg_pool2d': F.avg_pool2d}[kind]
    point(f'{kind}/{name}', said(kind, kernel, **settings), lambda x: compute(x, kernel, **settings), x=x)


for kind in 'max_pool2d', 'avg_pool2d':
    pool(kind, 'plain', 2, drawn(2, 3, 4, 6))
    pool(kind, 'rest', 2, drawn(2, 2, 5, 7))
    pool(kind, 'overlapping', 3, drawn(2, 2, 7, 6), stride=2)
    pool(kind, 'every_place', 3, drawn(1, 2, 5, 5), stride=1)
    pool(kind, 'stride_beyond_kernel', 2, drawn(2, 1, 8, 7), stride=3)
    pool(kind, 'padding', 3, drawn(2, 2, 5, 6), stride=2, padding=1)
    pool(kind, 'padding_even', 2, drawn(1, 2, 4, 5), padding=1)
    pool(kind, 'whole_window', 4, drawn(2, 3, 4, 4))
    pool(kind, 'one_wide', 1, drawn(2, 2, 3, 3))
    pool(kind, 'one_wide_stride', 1, drawn(2, 2, 5, 4), stride=2)
    pool(kind, 'size_one', 1, drawn(1, 1, 1, 1))

    pool(kind, 'pairs', [3, 2], drawn(2, 2, 6, 5), stride=[2, 1], padding=[0, 1])
pool('max_pool2d', 'dilation', 2, drawn(2, 2, 6, 5), stride=1, dilation=[3, 2])

# of equal ones the first has the gradient
TIES = [[[[1, 1, 0, -1.0], [1, 1, -1, 0], [0, 2, 2, 2], [2, 0, 2, 2]]]]
pool('max_pool2d', 'ties', 2, given(TIES))
pool('max_pool2d', 'ties_overlapping', 3, given(TIES), stride=1)
pool('max_pool2d', 'ties_padding', 3, given(TIES), stride=2, padding=1)
pool('max_pool2d', 'all_equal', 2, lambda: torch.zeros(2, 1, 4, 4).requires_grad_())
pool('max_pool2d', 'below_zero_padding', 2, given([[[[-5, -3.0], [-2, -7]]]]), padding=1)

for name, size, places in (('plain', 2, (4, 6)), ('to_one', 1, (5, 4)), ('to_itself', 3, (3, 3)), ('uneven', 3, (5, 7)), ('uneven_more', 4, (6, 5)),
                           ('more_than_there_are', 5, (3, 4)), ('from_one', 2, (1, 1)), ('size_one', 1, (1, 1))):
    point(f'adaptive_avg_pool2d/{name}', f'adaptive_avg_pool2d(x, {size})', lambda x, size=size: F.adaptive_avg_pool2d(x, size), x=drawn(2, 3, *places))

point('adaptive_avg_pool2d/pair', 'adaptive_avg_pool2d(x, [2, 3])', lambda x: F.adaptive_avg_pool2d(x, (2, 3)), x=drawn(2, 2, 4, 5))
point('adaptive_avg_pool2d/infinite', 'adaptive_avg_pool2d(x, 2)', lambda x: F.adaptive_avg_pool2d(x, 2),
      x=given([[[[1, 2, 3.0], [4, INF, 6], [7, 8, 9]]], [[[1, 2, 3.0], [4, 5, 6], [7, 8, -INF]]]]))

# ---- recurrent layers, of the batch first ----

class Recurrent(nn.Module):
    """The outputs of all steps, without the last state; params are named as in PyTorch's module."""

    def __init__(self, kind, wide, hidden):
        super().__init__()
        self.layer = kind(wide, hidden, batch_first=True)

    def state_dict(self, **how): return self.layer.state_dict(**how)

    def forward(self, x): return self.layer(x)[0]


for name, kind in ('rnn', nn.RNN), ('lstm', nn.LSTM), ('gru', nn.GRU):
    for case, n, t, wide, hidden in (('plain', 2, 4, 3, 5), ('one_step', 3, 1, 2, 3), ('one_row', 1, 5, 2, 2), ('size_one', 1, 1, 1, 1), ('long', 1, 20, 1, 2)):
        layer(f'{name}/{case}', f'{name}(x, {hidden})', lambda kind=kind, wide=wide, hidden=hidden: Recurrent(kind, wide, hidden), x=drawn(n, t, wide))

# ---- slices, joins, windows and rows by number ----

def operation(name, says, compute, **inputs): point(f'operations/{name}', says, compute, **inputs)


SPECIAL = [[1, NAN, -0.0], [-INF, 2, INF]]

operation('slice', 'slice(x, 1, 1, -1)', lambda x: x[:, 1:-1], x=drawn(2, 5, 3))
operation('slice_step', 'slice(x, -1, 1, step: 3)', lambda x: x[..., 1::3], x=drawn(2, 3, 8))
operation('part', 'part(x, 2, 1, 3)', lambda x: x.chunk(3, 2)[1], x=drawn(2, 2, 6))
operation('reverse', 'reverse(x, [0, 2])', lambda x: x.flip(0, 2), x=drawn(2, 2, 5))
operation('pad', 'pad(x, [2, 1], [1, 0], [2, 3], 0.5)', lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), x=drawn(2, 3, 2))
operation('concat', 'concat(x, 2 * y, x, axis: -1)', lambda x, y: torch.cat([x, 2 * y, x], -1), x=drawn(2, 3, 2), y=drawn(2, 3, 4))
operation('concat_special', 'concat(x, y, axis: 1)', lambda x, y: torch.cat([x, y], 1), x=given(SPECIAL), y=given(SPECIAL))
operation('stack', 'stack(x, y, x * y, axis: 1)', lambda x, y: torch.stack([x, y, x * y], 1), x=drawn(2, 3), y=drawn(2, 3))
operation('stack_behind', 'stack(x, y, axis: -1)', lambda x, y: torch.stack([x, y], -1), x=drawn(2, 3), y=drawn(2, 3))
operation('window', 'window(x, 1, 3, stride: 2)', lambda x: x.unfold(1, 3, 2), x=drawn(2, 8, 2))
operation('window_two', 'window(x, [2, 1], [2, 3], dilation: [3, 1])', lambda x: x.unfold(1, 3, 1).unfold(2, 4, 1)[..., ::3], x=drawn(2, 4, 6))
operation('cumsum', 'cumsum(x, 1)', lambda x: x.cumsum(1), x=drawn(2, 5, 3))
operation('round', 'x * round(x)', lambda x: x * torch.round(x), x=given([[-2.5, -1.5, -0.4, 0.5, 1.5, 2.4, 1e9]]))
operation('first_max', 'first_max(x, axis: 1)', lambda x: x.max(1)[0], x=given([[1, 3, 3.0], [2, 2, 2], [-1, -2, -5]]))
operation('argmax_axes', 'x * f32(expand(reshape(argmax(x, axis: [1, 2]), [N, 1, 1]), [N, 3, 4]))',
          lambda x: x * x.flatten(1).argmax(1)[:, None, None], x=drawn(3, 3, 4))
operation('gather', 'gather(x, k, axis: 1)', lambda x, k: x[torch.arange(2)[:, None], k], x=drawn(2, 4, 3), k=numbers(4, 2, 5))
operation('gather_places', 'gather(x, k, axis: 1)', lambda x, k: x[torch.arange(4), k], x=drawn(4, 5), k=numbers(5, 4))
operation('scatter_add', 'scatter_add(x, k, 4, axis: 1)',
          lambda x, k: torch.zeros(2, 4, 3).index_put((torch.arange(2)[:, None], k), x, accumulate=True), x=drawn(2, 6, 3), k=numbers(4, 2, 6))
