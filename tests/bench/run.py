"""run.py - nnd beside every peer that is installed, on the workloads of work.py, in one run.

    python3 tests/bench/run.py --nnd build/nnd --data DIR [W1 W2 ...] [--repeat 3] [--threads 1] [--json FILE]

DIR has the four IDX files (.gz).  Each repetition runs every contender of a workload once, one after the other, so that noise hits all
alike; a figure is the median of its repetitions, a peer's the least of its modes' medians.  Losses of the first steps must agree with
nnd's.  What fails is told in the table.

--target cuda trains on a GPU, beside PyTorch there.  --programs DIR takes DIR/MODEL-TARGET, as gpu.sh makes them, instead of nnd: for a
machine without LLVM.
"""
import argparse
import csv
import gzip
import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import work

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, '..', '..')
MODES = {     # peer: package, modes by kind
    'torch': ('torch', {'train': ['eager', 'compiled'], 'infer': ['eager', 'compiled'], 'start': ['eager'], 'notebook': ['tutorial']}),
    'jax': ('jax', {'train': ['step', 'scan'], 'infer': ['jit'], 'start': ['step'], 'memory': ['scan']}),
    'onnx': ('onnxruntime', {'infer': ['session']}),
}
ON_GPU = {'torch': ('torch', {'train': ['cuda', 'graphs']})}
LONG = {'lenet', 'cnn', 'gpt'}      # no whole step compiled, no scan: minutes to compile, and slower


# ---- data ----

def idx(path):
    with gzip.open(path) as f:
        raw = f.read()
    rank = raw[3]
    dim = np.frombuffer(raw, '>i4', rank, 4)
    return np.frombuffer(raw, np.uint8, -1, 4 + 4 * rank).reshape(dim)


def write_book(args, path):
    """A text for gpt: the one beside the data, for which programs were made, else Debian's licences."""
    licenses = '/usr/share/common-licenses'
    files = [os.path.join(args.data, 'book.txt')]
    if not os.path.exists(files[0]):
        files = sorted(f for f in (os.path.join(licenses, n) for n in os.listdir(licenses)) if not os.path.islink(f))
    with open(path, 'wb') as out:
        for f in files:
            out.write(open(f, 'rb').read())


def prepare(args, folder):
    for split, name in (('train', 'train'), ('test', 't10k')):
        np.save(os.path.join(folder, split + '-images.npy'), idx(os.path.join(args.data, name + '-images-idx3-ubyte.gz')))
        np.save(os.path.join(folder, split + '-labels.npy'), idx(os.path.join(args.data, name + '-labels-idx1-ubyte.gz')))
        for kind in ('images-idx3', 'labels-idx1'):
            with gzip.open(os.path.join(args.data, f'{name}-{kind}-ubyte.gz')) as f, open(os.path.join(folder, f'{name}-{kind}-ubyte'), 'wb') as out:
                shutil.copyfileobj(f, out)
    random = np.random.default_rng(1)
    np.save(os.path.join(folder, 'order.npy'), np.stack([random.permutation(60000) for _ in range(2)]))
    write_book(args, os.path.join(folder, 'book.txt'))
    n = len(work.text(folder)[0])
    np.save(os.path.join(folder, 'order_gpt.npy'), np.stack([random.permutation(n) for _ in range(2)]))
    for name in ('slp', 'mlp', 'mlp_adam', 'lenet', 'cnn', 'gpt'):
        text = re.sub(r'^    expect.*$', '', open(os.path.join(TOP, 'models', name + '.nnd')).read(), flags=re.M)
        # a rate that does not change, so that peers need no schedule
        text = text.replace('lr: cosine(1e-3, warmup: 100, min: 1e-4)', 'lr: 1e-5')
        open(os.path.join(folder, name + '.nnd'), 'w').write(text)
        if args.programs and not os.path.exists(os.path.join(args.programs, f'{name}-{args.target}')):
            continue
        call([*trainer(args, name), '--data', data_of(args, folder, name), '--steps', '1', '--save', name + '.safetensors'], folder, 1)


def trainer(args, model):
    if args.programs:
        return [os.path.join(args.programs, f'{model}-{args.target}')]
    return [args.nnd, 'train', model + '.nnd', '--target', args.target]


def data_of(args, folder, model): return folder if model == 'gpt' else args.data


# ---- running ----

def environment(threads):
    n = str(threads)
    return {**os.environ, 'OMP_NUM_THREADS': n, 'MKL_NUM_THREADS': n, 'OPENBLAS_NUM_THREADS': n, 'JAX_PLATFORMS': 'cpu', 'TF_CPP_MIN_LOG_LEVEL': '3',
            'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1' if threads == 1 else ''}


def call(command, folder, threads):
    """Its output, the most memory it held, in bytes, and what it said on stderr."""
    pinned = ['taskset', '-c', ','.join(map(str, range(threads)))] + command if shutil.which('taskset') else command
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        p = subprocess.Popen(pinned, cwd=folder, env=environment(threads), stdout=out, stderr=err)
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        text, said = out.read(), err.read()
    if p.returncode:
        raise RuntimeError(said.strip().splitlines()[-1] if said.strip() else f'exit status {p.returncode}')
    return text, used.ru_maxrss * 1024, said


def train_nnd(args, w, folder):
    short = []
    if w.steps <= 100:      # epochs of as many rows as the steps take; the first one's seconds hold what is left of compiling
        order = np.load(os.path.join(folder, 'order_gpt.npy' if w.model == 'gpt' else 'order.npy'))[:, :w.steps * w.batch]
        np.save(os.path.join(folder, 'short.npy'), order)
        short = ['--order', 'short.npy']
    call([*trainer(args, w.model), '--data', data_of(args, folder, w.model), '--threads', str(args.threads), '--log', 'log.csv',
          '--epochs', '2', *short],
         folder, args.threads)
    return float(list(csv.DictReader(open(os.path.join(folder, 'log.csv'))))[-1]['seconds'])


def infer_nnd(args, w, folder):
    exe = os.path.join(folder, w.name)
    if not os.path.exists(exe):
        for kind, name in (('obj', 'model.o'), ('header', 'model.h')):
            call([args.nnd, 'compile', w.model + '.nnd', '--weights', w.model + '.safetensors', '--batch', str(w.batch), '--emit', kind, '-o', name], folder, 1)
        entry = f'{w.model}_infer' + (f'_{w.batch}' if w.batch > 1 else '')
        call(['cc', '-O2', '-I.', f'-DBATCH={w.batch}', f'-DSCRATCH=NND_{entry.upper()}_SCRATCH_BYTES', f'-DINFER=nnd_{entry}',
              os.path.join(HERE, 'infer.c'), 'model.o', '-lm', '-o', exe], folder, 1)
        work.images(folder)[0][:w.batch].tofile(exe + '.bin')
    return float(call([exe, exe + '.bin', str(w.steps)], folder, args.threads)[0].split()[0])


def start_nnd(args, w, folder):
    said = call([args.nnd, 'train', w.model + '.nnd', '--data', folder, '--steps', '1', '--threads', str(args.threads), '--time'], folder, args.threads)[2]
    return float(re.search(r'first step +([\d.]+) ms', said).group(1)) / 1000


def notebook_nnd(args, w, folder):
    begun = time.perf_counter()
    call([args.nnd, 'train', w.model + '.nnd', '--data', args.data, '--threads', str(args.threads)], folder, args.threads)
    return time.perf_counter() - begun


def memory_nnd(args, w, folder):
    return call([args.nnd, 'train', w.model + '.nnd', '--data', args.data, '--threads', str(args.threads), '--epochs', '1'], folder, args.threads)[1]


NND = {'train': train_nnd, 'infer': infer_nnd, 'start': start_nnd, 'notebook': notebook_nnd, 'memory': memory_nnd}


def run_peer(args, w, peer, mode, folder):
    """The figure in its unit's base, and losses."""
    text, held, _ = call([sys.executable, os.path.join(HERE, f'peer_{peer}.py'), w.name, mode, '--work', folder, '--threads', str(args.threads)],
                      folder, args.threads)
    told = json.loads(text.strip().splitlines()[-1])
    return held if w.kind == 'memory' else told['seconds'], told['losses']


def losses_nnd(args, w, folder):
    order = 'order_gpt.npy' if w.model == 'gpt' else 'order.npy'
    call([*trainer(args, w.model), '--data', data_of(args, folder, w.model), '--init', w.model + '.safetensors', '--order', order,
          '--epochs', '1', '--steps', str(work.CHECKED), '--log-steps', 'steps.csv'], folder, args.threads)
    return [float(r['loss']) for r in csv.DictReader(open(os.path.join(folder, 'steps.csv'))) if r['step'] != 'test'][:work.CHECKED]


def contenders(w, installed, peers):
    found = [('nnd', '')]
    for peer in installed:
        modes = peers[peer][1].get(w.kind, [])
        if peers is MODES and w.kind == 'train' and w.model in LONG:
            modes = modes[:1]
        found += [(peer, m) for m in modes]
    return found


def measure(args, w, folder, installed):
    """By contender: figures of all repetitions; and what went wrong."""
    figures, wrong = {}, []
    ours = losses_nnd(args, w, folder) if w.kind == 'train' else []
    for turn in range(args.repeat):
        for who in contenders(w, installed, args.peers):
            if (who, 'failed') in wrong:
                continue
            try:
                if who[0] == 'nnd':
                    x = NND[w.kind](args, w, folder)
                else:
                    x, losses = run_peer(args, w, *who, folder)
                    far = max((abs(a - b) / max(abs(a), 1e-6) for a, b in zip(ours, losses)), default=0)
                    if far > 1e-3 and turn == 0:
                        wrong.append((who, f'losses differ by {far:.1e}'))
                figures.setdefault(who, []).append(x)
            except (RuntimeError, subprocess.CalledProcessError, AttributeError) as e:
                wrong.append((who, 'failed'))
                print(f'{w.name} {" ".join(who)}: {e}', file=sys.stderr)
    return figures, wrong


# ---- telling ----

def medians(w, figures):
    of = {}
    for (peer, mode), all_of in figures.items():
        x = statistics.median(all_of) * w.scale
        if peer not in of or x < of[peer][0]:
            of[peer] = (x, mode)
    return of


def line_of(w, of, wrong, names):
    cells = [f'{w.name} {w.what}, {w.unit}']
    for n in names:
        cells.append('' if n not in of else f'{of[n][0]:.3g}' + (f' ({of[n][1]})' if n != 'nnd' else ''))
    peers = [of[n][0] for n in names if n != 'nnd' and n in of]
    cells.append(f'{min(peers) / of["nnd"][0]:.2f}' if peers and 'nnd' in of else '')
    cells.append(f'{w.targets:g}')
    cells.append('; '.join(f'{" ".join(who).strip()}: {what}' for who, what in wrong))
    return '| ' + ' | '.join(cells) + ' |'


def machine(build):
    cpu = re.search(r'model name\s*: (.*)', open('/proc/cpuinfo').read())
    said = [cpu.group(1) if cpu else 'a processor']
    peak = os.path.join(build, 'tests', 'peak')
    said.append(subprocess.run([peak], capture_output=True, text=True).stdout.strip() if os.path.exists(peak) else 'peak not built')
    return ', '.join(said)


def missing(target, peer, package):
    """Why a peer is left out, or None."""
    if not importlib.util.find_spec(package):
        return 'not installed'
    if target == 'cuda' and peer == 'torch' and not importlib.import_module('torch').cuda.is_available():
        return 'this PyTorch finds no GPU'
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('workloads', nargs='*')
    parser.add_argument('--nnd', default='nnd')
    parser.add_argument('--target', default='cpu')
    parser.add_argument('--programs')
    parser.add_argument('--data', required=True)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--json')
    args = parser.parse_args()
    args.nnd, args.data = os.path.realpath(args.nnd), os.path.realpath(args.data)
    args.programs = os.path.realpath(args.programs) if args.programs else None
    args.peers = ON_GPU if args.target == 'cuda' else MODES
    chosen = [w for w in work.WORKLOADS if not args.workloads or w.name in args.workloads or w.name.split('-')[0] in args.workloads]
    if args.target == 'cuda' or args.programs:
        chosen = [w for w in chosen if w.kind == 'train']
    if not chosen:
        parser.error('there are ' + ' '.join(w.name for w in work.WORKLOADS))
    left_out = {p: missing(args.target, p, package) for p, (package, _) in args.peers.items()}
    installed = [p for p in args.peers if not left_out[p]]
    for p, why in left_out.items():
        if why:
            print(f'{p}: left out, {why}', file=sys.stderr)
    names, all_of = ['nnd', *installed], {}
    print(f'{machine(os.path.dirname(args.nnd))}; {args.threads} thread{"s" if args.threads > 1 else ""}, median of {args.repeat}\n')
    print('| workload | ' + ' | '.join(names) + ' | best peer / nnd | target | |\n|' + '---|' * (len(names) + 4))
    with tempfile.TemporaryDirectory() as folder:
        prepare(args, folder)
        for w in chosen:
            figures, wrong = measure(args, w, folder, installed)
            all_of[w.name] = {' '.join(who).strip(): v for who, v in figures.items()}
            print(line_of(w, medians(w, figures), wrong, names), flush=True)
    if args.json:
        with open(args.json, 'w') as f:
            json.dump(all_of, f, indent=1)


if __name__ == '__main__':
    main()
