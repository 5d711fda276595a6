"""peer_torch.py - PyTorch on the workloads: eager, the whole step compiled, and the loop as tutorials have it.

Modes cuda and graphs are on a GPU: eager, and the whole step recorded as a CUDA graph.  The data are there as well; factors of products
are rounded to TF32 or bfloat16 (by autocast) where the workload says so, and only there.

    peer_torch.py serve - --work DIR      reads lines `WORKLOAD MODE` and answers each with a line: importing takes longer than most of them
"""
import gc
import json
import os
import sys
import time

BEGUN = time.perf_counter()
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'layers'))
import numpy as np
import torch
from safetensors.torch import load_file

import models
import work

F = torch.nn.functional


GPU = ('cuda', 'graphs')


def place_of(mode): return 'cuda' if mode in GPU else 'cpu'


def net_of(w, folder, mode='eager'):
    net = models.MODELS[w.model].module(*models.MODELS[w.model].full)
    net.load_state_dict(load_file(os.path.join(folder, w.model + '.safetensors')))
    return net.to(place_of(mode))


def optimizer(w, net, mode='eager'):
    more = {'capturable': True} if mode == 'graphs' else {}
    if w.model in ('slp', 'mlp'):
        return torch.optim.SGD(net.parameters(), lr=0.5)
    if w.model == 'gpt':
        return torch.optim.AdamW(net.parameters(), lr=1e-5, weight_decay=0.1, **more)
    return torch.optim.Adam(net.parameters(), lr=1e-3, **more)


def loss_of(w, net, x, y):
    out = net(x)
    if w.model in ('slp', 'mlp'):
        return F.mse_loss(out, F.one_hot(y, 10).float())
    return F.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))


def rounded(w):
    """Where factors may be bfloat16; what is cast is not kept, as a recorded step has to cast anew."""
    return torch.autocast('cuda', torch.bfloat16, enabled=w.precision == 'bf16', cache_enabled=False)


def step_of(w, net, mode):
    o = optimizer(w, net, mode)

    def step(x, y):
        with rounded(w):
            loss = loss_of(w, net, x, y)
        o.zero_grad()
        loss.backward()
        if w.model == 'gpt':
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        o.step()
        return loss.detach()
    return torch.compile(step) if mode == 'compiled' else step


def recorded(step, x, y, order):
    """The step as a graph, which reads its rows' numbers from a place that is filled before it is launched."""
    rows = order[0].clone()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(x[rows], y[rows])
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(x[rows], y[rows])

    def run(i):
        rows.copy_(order[i])
        graph.replay()
        return loss
    return run


def train(w, mode, folder):
    x, y, order = work.rows(w, folder)
    x, y, order = (torch.from_numpy(a).to(place_of(mode)) for a in (x, y.astype(np.int64), order.copy()))
    step = step_of(w, net_of(w, folder, mode), mode)
    losses = [step(x[order[i]], y[order[i]]).item() for i in range(work.CHECKED)]
    n = min(w.steps, len(order))
    run = recorded(step, x, y, order) if mode == 'graphs' else lambda i: step(x[order[i]], y[order[i]])
    run(0).item()
    begun = time.perf_counter()
    for i in range(n):
        loss = run(i)
    loss.item()
    work.tell((time.perf_counter() - begun) * w.steps / n, losses)


def infer_on_gpu(w, mode, folder):
    """Rows come from memory of the processor, and results go there, as nnd's do."""
    net = net_of(w, folder, mode).eval()
    given = torch.from_numpy(work.images(folder)[0][:w.batch].copy())
    with torch.inference_mode():
        x = given.cuda()
        for _ in range(3):
            out = net(x)
        if mode == 'graphs':
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = net(x)

        def call(i):
            if mode == 'graphs':
                x.copy_(given)
                graph.replay()
                return out.cpu()
            return net(given.cuda()).cpu()
        work.timed(call, work.WARM)
        work.tell(work.timed(call, w.steps))


def infer(w, mode, folder):
    if mode in GPU:
        return infer_on_gpu(w, mode, folder)
    net = net_of(w, folder).eval()
    x = torch.from_numpy(work.images(folder)[0][:w.batch].copy())
    call = torch.compile(net) if mode == 'compiled' else net
    with torch.inference_mode():
        for _ in range(work.WARM):
            call(x)
        work.tell(work.timed(lambda i: call(x), w.steps))


def start(w, mode, folder):
    x, y, order = work.rows(w, folder)
    step = step_of(w, net_of(w, folder, mode), mode)
    step(*(torch.from_numpy(a[order[0]]).to(place_of(mode)) for a in (x, y))).item()
    work.tell(time.perf_counter() - BEGUN)


def notebook(w, mode, folder):
    """The loop of the tutorial: a loader of rows, figures of each batch, and a test after each epoch."""
    data = [torch.utils.data.TensorDataset(*(torch.from_numpy(a) for a in work.images(folder, split))) for split in ('train', 'test')]
    loaders = [torch.utils.data.DataLoader(d, batch_size=64, shuffle=i == 0) for i, d in enumerate(data)]
    net = net_of(w, folder)
    o = optimizer(w, net)
    for _ in range(10 if w.kind == 'notebook' else 1):
        for loader, learn in zip(loaders, (True, False)):
            total = right = 0
            for x, y in loader:
                with torch.set_grad_enabled(learn):
                    out = net(x)
                    loss = F.mse_loss(out, F.one_hot(y, 10).float())
                if learn:
                    o.zero_grad()
                    loss.backward()
                    o.step()
                total += loss.item() * len(y)
                right += (out.argmax(1) == y).sum().item()
    work.tell(time.perf_counter() - BEGUN)


def run(w, mode, folder):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = w.precision == 'tf32'
    {'train': train, 'infer': infer, 'start': start, 'notebook': notebook, 'memory': train}[w.kind](w, mode, folder)


def serve(folder):
    for line in sys.stdin:
        name, mode = line.split()
        try:
            run(work.find(name), mode, folder)
        except Exception as e:       # told to whoever asked, who may ask for another
            print(json.dumps({'error': str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__}), flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def main():
    args = work.arguments()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    if args.workload == 'serve':
        serve(args.work)
    else:
        run(work.find(args.workload), args.mode, args.work)


if __name__ == '__main__':
    main()
