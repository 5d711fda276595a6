"""run.py - nnd beside every peer that is installed, on the workloads of work.py, in one run.

    python3 tests/bench/run.py --nnd build/nnd --data DIR [W1 W2 ...] [--repeat 3] [--threads 1] [--json FILE]

DIR has the four IDX files, packed (.gz) or not.  Each repetition runs every contender of a workload once, one after the other, so that noise hits all
alike; a figure is the median of its repetitions, a peer's the least of its modes' medians.  Losses of the first steps must agree with
nnd's.  What fails is told in the table.

--target cuda trains and predicts on a GPU, beside PyTorch there, which then runs in one process for all.  --programs DIR takes DIR/MODEL-TARGET
and DIR/MODEL-infer-TARGET, as gpu.sh makes them, instead of nnd: for a machine without LLVM.  --seconds N begins no workload after N seconds.
"""
import argparse
import csv
import dataclasses
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
ON_GPU = {'torch': ('torch', {'train': ['graphs', 'cuda'], 'infer': ['graphs', 'cuda'], 'start': ['cuda']})}
LONG = {'lenet', 'cnn', 'gpt'}      # no whole step compiled, no scan: minutes to compile, and slower


# ---- data ----

def opened(path):
    """The file, or the packed one."""
    return open(path, 'rb') if os.path.exists(path) else gzip.open(path + '.gz')


def idx(path):
    with opened(path) as f:
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


def write_model(folder, w):
    text = re.sub(r'^    expect.*$', '', open(os.path.join(TOP, 'models', w.model + '.nnd')).read(), flags=re.M)
    # a rate that does not change, so that peers need no schedule
    text = text.replace('lr: cosine(1e-3, warmup: 100, min: 1e-4)', 'lr: 1e-5')
    if w.precision != 'f32':
        text = re.sub(r'^    batch:.*$', rf'\g<0>\n    precision: {w.precision}', text, flags=re.M)
    open(os.path.join(folder, w.text + '.nnd'), 'w').write(text)


def write_data(args, folder):
    for split, name in (('train', 'train'), ('test', 't10k')):
        np.save(os.path.join(folder, split + '-images.npy'), idx(os.path.join(args.data, name + '-images-idx3-ubyte')))
        np.save(os.path.join(folder, split + '-labels.npy'), idx(os.path.join(args.data, name + '-labels-idx1-ubyte')))
        for kind in ('images-idx3', 'labels-idx1'):
            with opened(os.path.join(args.data, f'{name}-{kind}-ubyte')) as f, open(os.path.join(folder, f'{name}-{kind}-ubyte'), 'wb') as out:
                shutil.copyfileobj(f, out)
    random = np.random.default_rng(1)
    np.save(os.path.join(folder, 'order.npy'), np.stack([random.permutation(60000) for _ in range(2)]))
    write_book(args, os.path.join(folder, 'book.txt'))
    n = len(work.text(folder)[0])
    np.save(os.path.join(folder, 'order_gpt.npy'), np.stack([random.permutation(n) for _ in range(2)]))


def prepare(args, folder, chosen):
    """Data, texts, and weights of a step that all begin with."""
    write_data(args, folder)
    for w in chosen:
        write_model(folder, w)
    for model in {w.model for w in chosen}:
        plain = next(w for w in work.WORKLOADS if w.model == model and w.precision == 'f32')
        write_model(folder, plain)
        try:
            call([*trainer(args, plain), '--data', data_of(args, folder, model), '--steps', '1', '--save', model + '.safetensors'], folder, 1)
        except (RuntimeError, OSError) as e:
            print(f'{model}: {e}', file=sys.stderr)


def trainer(args, w):
    if args.programs:
        return [os.path.join(args.programs, f'{w.text}-{args.target}')]
    return [args.nnd, 'train', w.text + '.nnd', '--target', args.target]


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
    call([*trainer(args, w), '--data', data_of(args, folder, w.model), '--threads', str(args.threads), '--log', 'log.csv',
          '--epochs', '2', *short],
         folder, args.threads)
    return float(list(csv.DictReader(open(os.path.join(folder, 'log.csv'))))[-1]['seconds'])


def infer_nnd_gpu(args, w, folder):
    """By the runtime: rows come from memory of the processor, and results go there."""
    exe, rows = os.path.join(args.programs or folder, f'{w.model}-infer-cuda'), os.path.join(folder, f'rows-{w.batch}.bin')
    if not os.path.exists(exe):
        call(['sh', os.path.join(HERE, 'gpu.sh'), 'infer', os.path.dirname(args.nnd), w.model + '.nnd', w.model + '.safetensors', exe], folder, 1)
    work.images(folder)[0][:w.batch].tofile(rows)
    return float(call([exe, str(w.batch), str(w.steps), rows], folder, args.threads)[0].split()[0])


def infer_nnd(args, w, folder):
    if args.target == 'cuda':
        return infer_nnd_gpu(args, w, folder)
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
    if args.programs:          # which do not tell when their first step was: it ends before they do
        begun = time.perf_counter()
        call([*trainer(args, w), '--data', folder, '--steps', '1', '--quiet'], folder, args.threads)
        return time.perf_counter() - begun
    said = call([*trainer(args, w), '--data', folder, '--steps', '1', '--threads', str(args.threads), '--time'], folder, args.threads)[2]
    return float(re.search(r'first step +([\d.]+) ms', said).group(1)) / 1000


def notebook_nnd(args, w, folder):
    begun = time.perf_counter()
    call([args.nnd, 'train', w.model + '.nnd', '--data', args.data, '--threads', str(args.threads)], folder, args.threads)
    return time.perf_counter() - begun


def memory_nnd(args, w, folder):
    return call([args.nnd, 'train', w.model + '.nnd', '--data', args.data, '--threads', str(args.threads), '--epochs', '1'], folder, args.threads)[1]


NND = {'train': train_nnd, 'infer': infer_nnd, 'start': start_nnd, 'notebook': notebook_nnd, 'memory': memory_nnd}


class Served:
    """A peer that answers one workload after another; started when it is asked, and again after it has gone."""

    def __init__(self, peer, folder, threads):
        self.command = [sys.executable, os.path.join(HERE, f'peer_{peer}.py'), 'serve', '-', '--work', folder, '--threads', str(threads)]
        self.folder, self.threads, self.process = folder, threads, None

    def ask(self, w, mode):
        if not self.process or self.process.poll() is not None:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=environment(self.threads), text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(f'{w.name} {mode}\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        told = json.loads(answer) if answer else {'error': 'the peer is gone'}
        if 'error' in told:
            self.close()           # a GPU that failed fails on in its process
            raise RuntimeError(told['error'])
        return told

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def run_peer(args, w, peer, mode, folder):
    """The figure in its unit's base, and losses."""
    if args.target == 'cuda' and w.kind != 'start':
        told = args.served.setdefault(peer, Served(peer, folder, args.threads)).ask(w, mode)
        return told['seconds'], told['losses']
    text, held, _ = call([sys.executable, os.path.join(HERE, f'peer_{peer}.py'), w.name, mode, '--work', folder, '--threads', str(args.threads)],
                      folder, args.threads)
    told = json.loads(text.strip().splitlines()[-1])
    return held if w.kind == 'memory' else told['seconds'], told['losses']


def losses_nnd(args, w, folder):
    order = 'order_gpt.npy' if w.model == 'gpt' else 'order.npy'
    call([*trainer(args, w), '--data', data_of(args, folder, w.model), '--init', w.model + '.safetensors', '--order', order,
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
                    if far > work.AGREE[w.precision] and turn == 0:
                        wrong.append((who, f'losses differ by {far:.1e}'))
                figures.setdefault(who, []).append(x)
            except (RuntimeError, subprocess.CalledProcessError, AttributeError, OSError) as e:
                wrong.append((who, 'failed'))
                print(f'{w.name} {" ".join(who)}: {e}', file=sys.stderr)
    return figures, wrong


# ---- telling ----

def medians(w, figures):
    """By contender's name: (figure, mode), the least first."""
    of = {}
    for (peer, mode), all_of in figures.items():
        of.setdefault(peer, []).append((statistics.median(all_of) * w.scale, mode))
    return {peer: sorted(found) for peer, found in of.items()}


def line_of(w, of, wrong, names, every):
    """every: of a peer's modes, else the best one."""
    cells = [f'{w.name} {w.what}, {w.unit}']
    for n in names:
        cells.append(', '.join(f'{x:.3g}' + (f' ({mode})' if mode else '') for x, mode in of.get(n, [])[:None if every else 1]))
    peers = [of[n][0][0] for n in names if n != 'nnd' and n in of]
    cells.append(f'{min(peers) / of["nnd"][0][0]:.2f}' if peers and 'nnd' in of else '')
    cells.append('' if every else f'{w.targets:g}')
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


def choose(args, parser):
    """Workloads in the order that was asked for: a name, or what stands before its `-`."""
    can = [w for w in work.WORKLOADS if args.target in w.where.split()]
    chosen = []
    for name in args.workloads or [w.name for w in can]:
        chosen += [w for w in can if w not in chosen and name in (w.name, w.name.split('-')[0])]
    if args.programs:
        chosen = [w for w in chosen if os.path.exists(os.path.join(args.programs, f'{w.text}-{args.target}'))]
    if not chosen:
        parser.error('there are ' + ' '.join(w.name for w in can))
    return chosen


def compare(args, chosen, names, folder):
    """Prints a line of the table for each workload; what was measured, by name."""
    begun, all_of = time.perf_counter(), {}
    for w in chosen:
        if args.seconds and time.perf_counter() - begun > args.seconds:
            print(f'{w.name}: left out, {args.seconds} seconds are over', file=sys.stderr)
            continue
        try:
            figures, wrong = measure(args, w, folder, names[1:])
        except (RuntimeError, OSError) as e:
            print(f'{w.name}: {e}', file=sys.stderr)
            continue
        all_of[w.name] = {' '.join(who).strip(): v for who, v in figures.items()}
        print(line_of(w, medians(w, figures), wrong, names, args.target == 'cuda'), flush=True)
    return all_of


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('workloads', nargs='*')
    parser.add_argument('--nnd', default='nnd')
    parser.add_argument('--target', default='cpu')
    parser.add_argument('--programs')
    parser.add_argument('--data', required=True)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=int)
    parser.add_argument('--json')
    args = parser.parse_args()
    args.nnd, args.data = os.path.realpath(args.nnd), os.path.realpath(args.data)
    args.programs = os.path.realpath(args.programs) if args.programs else None
    args.peers, args.served = ON_GPU if args.target == 'cuda' else MODES, {}
    chosen = choose(args, parser)
    left_out = {p: missing(args.target, p, package) for p, (package, _) in args.peers.items()}
    names = ['nnd', *(p for p in args.peers if not left_out[p])]
    for p, why in left_out.items():
        if why:
            print(f'{p}: left out, {why}', file=sys.stderr)
    print(f'{machine(os.path.dirname(args.nnd))}; {args.threads} thread{"s" if args.threads > 1 else ""}, median of {args.repeat}\n')
    print('| workload | ' + ' | '.join(names) + ' | best peer / nnd | target | |\n|' + '---|' * (len(names) + 4))
    with tempfile.TemporaryDirectory() as folder:
        prepare(args, folder, chosen)
        all_of = compare(args, chosen, names, folder)
        for served in args.served.values():
            served.close()
    if args.json:
        with open(args.json, 'w') as f:
            json.dump(all_of, f, indent=1)


if __name__ == '__main__':
    main()
