"""record.py - layers, activations and losses of the prelude as PyTorch computes them in float64, for nnd to be compared with.

    python3 record.py [--out DIR] [FOLDER/CASE...]      # by hand; all cases, and here, by default
    python3 record.py [--out DIR] FOLDER/...            # all of a folder

A case is a row of cases.py or cases_window.py: how nnd says it, how PyTorch does, and the inputs.  Its files are

    FOLDER/CASE.nnd                 the text: a model, and one step that puts each gradient in the place of its param
    FOLDER/CASE.safetensors         what the step begins with: inputs, params, running statistics, the adjoint of the output
    FOLDER/CASE.want.safetensors    the same names after it: gradients of sum(output * adjoint), statistics, the output of
                                    the training step, and what evaluation predicts before it

The numbers of a case depend on its name alone.  Folders in later/ are of layers that the prelude does not have yet; moved up
they are tests.
"""
import argparse
import os
import sys
import zlib
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
from plain import save
import cases_window      # adds rows
from cases import ROWS

torch.set_default_dtype(torch.float64)


def dtype(t): return 'f32' if t.is_floating_point() else 'i64'


def shape(t, batch=None):
    size = [str(n) for n in t.shape]
    if batch:
        size[0] = batch
    return '[' + ', '.join(size) + ']' if size else ''


def declared(kind, name, t):
    return f'    {kind} {name}: {dtype(t)}{shape(t)} = zeros\n'


def text(row, inputs, held, output, predicted):
    """The case as nnd reads it: what has a gradient is a param of the step, everything else a state."""
    given = [(name, t) for name, t in inputs.items() if row.loss is None or name == next(iter(inputs))]
    signature = ', '.join(f'{name}: {dtype(t)}{shape(t, "N")}' for name, t in given)
    call = 'net(' + ', '.join(name for name, _ in given) + ')'
    body = given[0][0] if row.loss else row.says
    result = f'{dtype(predicted)}{shape(predicted, "N")}'
    out = 'nnd 1\n' + f'# {row.loss or row.says}\n' + 'data none(unused: f32) { train: idx("none") }\n\n'
    out += f'model net({signature}) -> {result} {{ return {body} }}\n\n'
    out += 'optimizer gradient(w: f32[S...], g: f32[S...]) { w\' = g }\n\ntrain net on none {\n'
    for name, t in inputs.items():
        out += declared('param' if t.requires_grad else 'state', name, t)
    for name, t in held.items():
        out += declared('state', name, t)
    said = row.loss or row.trained or call
    out += f"    result = {said}\n    output' = result\n    minimize sum(result * adjoint)\n    optimizer: gradient()\n    batch: 1\n}}\n"
    return out


def randomise(module):
    """Away from the initial values, where a weight of 1 or a bias of 0 hides its gradient."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.5 + 0.1)
        for name, b in module.named_buffers():
            if b.is_floating_point():
                b.copy_(torch.rand_like(b) + 0.5 if name.endswith('var') else torch.randn_like(b))
            else:
                b.fill_(3)


def named(module):
    """Its params and statistics as nnd names them, under the label `layer`."""
    return {f'layer.{name}': t for name, t in module.state_dict(keep_vars=True).items()}


def record(row, folder):
    torch.manual_seed(zlib.crc32(row.name.encode()))
    inputs = {name: make() for name, make in row.inputs.items()}
    module = row.torch() if row.is_module else None
    if module:
        randomise(module)
    compute = module if module else row.torch
    if module:
        module.eval()
    predicted = (next(iter(inputs.values())) if row.loss else row.result(compute(*inputs.values()))).detach()
    layer = named(module) if module else {}
    before = {name: t.detach().clone() for name, t in {**inputs, **layer}.items()}
    if module:
        module.train()
    output = row.result(compute(*inputs.values()))
    adjoint = torch.randn_like(output)
    (output * adjoint).sum().backward()
    held = {'adjoint': adjoint, 'output': output.detach(), 'predicted': predicted}
    after = {name: t.grad if t.requires_grad else t for name, t in {**inputs, **layer}.items()}
    base = os.path.join(folder, row.name)
    os.makedirs(os.path.dirname(base), exist_ok=True)
    with open(base + '.nnd', 'w') as f:
        f.write(text(row, inputs, held, output, predicted))
    blank = {name: t if name == 'adjoint' else torch.zeros_like(t) for name, t in held.items()}
    save(base + '.safetensors', {**before, **blank})
    save(base + '.want.safetensors', {**after, **held})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', default=HERE)
    parser.add_argument('case', nargs='*')
    args = parser.parse_args()
    wanted = [row for row in ROWS if not args.case or row.name in args.case or os.path.dirname(row.name) + '/...' in args.case]
    if not wanted:
        sys.exit('no such case')
    for row in wanted:
        record(row, args.out)


main()
