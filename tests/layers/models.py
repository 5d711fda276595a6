"""models.py - weights of the models between nnd and PyTorch, both ways; wants the package safetensors.

    python3 models.py                      # writes models/: by hand, the test models.sh reads it
    python3 models.py --back build/nnd     # nnd writes, PyTorch reads: by hand, wants Fashion-MNIST

For each net a torch module has the names of the model's text.  Its state_dict, written by safetensors.torch.save_file and
by plain.py, is NET.safetensors and NET.plain.safetensors; NET.x.npy are rows (floats a second time as NET.x64.npy),
NET.y.npy what the module makes of them in evaluation, computed in double.  Nets are small there: models.sh cuts the model's text down to the same sizes.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Callable
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, '..', '..')
sys.path.insert(0, os.path.join(HERE, '..', 'tools'))
import plain

F = torch.nn.functional
ROWS = 3


def flat(image): return image.flatten(1) / 255


class Net(nn.Module):
    """Linear layers by name and sizes; a subclass says how they follow each other."""

    def __init__(self, **layers):
        super().__init__()
        for name, (wide, out) in layers.items():
            setattr(self, name, nn.Linear(wide, out))


class Slp(Net):
    def __init__(self, pixels): super().__init__(fc=(pixels, 10))
    def forward(self, image): return torch.sigmoid(self.fc(flat(image)))


class Mlp(Net):
    def __init__(self, pixels, hidden): super().__init__(fc1=(pixels, hidden), fc2=(hidden, 10))
    def forward(self, image): return torch.sigmoid(self.fc2(torch.sigmoid(self.fc1(flat(image)))))


class MlpAdam(Net):
    def __init__(self, pixels, hidden): super().__init__(fc1=(pixels, hidden), fc2=(hidden, hidden), fc3=(hidden, 10))
    def forward(self, image): return self.fc3(F.relu(self.fc2(F.relu(self.fc1(flat(image))))))


class TwoLayers(Net):
    def __init__(self, wide, hidden, out): super().__init__(fc1=(wide, hidden), fc2=(hidden, out))
    def forward(self, x): return self.fc2(F.relu(self.fc1(x)))


class Autoencoder(nn.Module):
    def __init__(self, pixels, hidden, code):
        super().__init__()
        self.encoder = TwoLayers(pixels, hidden, code)
        self.decoder = TwoLayers(code, hidden, pixels)

    def forward(self, image): return torch.sigmoid(self.decoder(self.encoder(flat(image))))


class Vae(Net):
    def __init__(self, pixels, hidden, code):
        super().__init__(center=(hidden, code), logvar=(hidden, code))
        self.encoder = Net(fc1=(pixels, hidden))
        self.decoder = TwoLayers(code, hidden, pixels)

    def forward(self, image):
        return torch.sigmoid(self.decoder(self.center(F.relu(self.encoder.fc1(flat(image))))))


class Gan(nn.Module):
    def __init__(self, pixels, hidden, wide, code):
        super().__init__()
        self.g = Net(fc1=(code, hidden), fc2=(hidden, wide), fc3=(wide, pixels))
        self.d = Net(fc1=(pixels, hidden), fc2=(hidden, 1))

    def forward(self, noise):
        h = F.leaky_relu(self.g.fc1(noise), 0.2)
        return torch.tanh(self.g.fc3(F.leaky_relu(self.g.fc2(h), 0.2)))


class Pinn(Net):
    def __init__(self, hidden): super().__init__(fc1=(1, hidden), fc2=(hidden, hidden), fc3=(hidden, 1))
    def forward(self, t): return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(t)))))


class Normed(Net):
    def __init__(self, pixels, hidden):
        super().__init__(fc1=(pixels, hidden), fc2=(hidden, 10))
        self.bn = nn.BatchNorm1d(hidden)
        self.ln = nn.LayerNorm(hidden)

    def forward(self, image): return self.fc2(self.ln(F.relu(self.bn(self.fc1(flat(image))))))


class Attention(Net):
    def __init__(self, pixels, width):
        super().__init__(fc1=(pixels, width), fc2=(width, 10))
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.ln = nn.LayerNorm(width)

    def forward(self, image):
        h = self.fc1(image / 255)
        mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1], dtype=h.dtype, device=h.device)
        return self.fc2(self.ln(h + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]).mean(1))


class Embedded(Net):
    def __init__(self, wide):
        super().__init__(fc1=(wide, 10))
        self.emb = nn.Embedding(256, 4)

    def forward(self, image): return self.fc1(self.emb(image.long()).mean(1).flatten(1))


class Lenet(nn.Module):
    def __init__(self, side, c1, c2, wide, narrow):
        super().__init__()
        self.conv1 = nn.Conv2d(1, c1, 5)
        self.conv2 = nn.Conv2d(c1, c2, 5)
        self.fc1 = nn.Linear(c2 * (((side - 4) // 2 - 4) // 2)**2, wide)
        self.fc2 = nn.Linear(wide, narrow)
        self.fc3 = nn.Linear(narrow, 10)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.conv1(image[:, None] / 255)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Cnn(nn.Module):
    def __init__(self, places, c1, c2, wide):
        super().__init__()
        self.conv1 = nn.Conv2d(1, c1, 3, padding=1)
        self.conv2 = nn.Conv2d(c1, c2, 3, padding=1)
        self.fc1 = nn.Linear(c2 * places, wide)
        self.fc2 = nn.Linear(wide, 10)

    def forward(self, image):
        x = F.relu(self.conv2(F.relu(self.conv1(image[:, None] / 255))))
        return self.fc2(F.relu(self.fc1(F.max_pool2d(x, 2).flatten(1))))


class ResidualBlock(nn.Module):
    def __init__(self, c, out, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        if stride != 1 or c != out:
            self.downsample = nn.Sequential(nn.Conv2d(c, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (self.downsample(x) if hasattr(self, 'downsample') else x))


class Resnet(nn.Module):
    def __init__(self, c1, c2, c3):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, c1, 3, 1, 1, bias=False), nn.BatchNorm2d(c1)
        self.layer1 = nn.Sequential(ResidualBlock(c1, c1))
        self.layer2 = nn.Sequential(ResidualBlock(c1, c2, 2))
        self.layer3 = nn.Sequential(ResidualBlock(c2, c3, 2))
        self.fc = nn.Linear(c3, 10)

    def forward(self, image):
        x = F.relu(self.bn1(self.conv1(image[:, None] / 255)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        h = self.ln_1(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype, device=x.device)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x))))


class Gpt(nn.Module):
    def __init__(self, letters, context, width, heads, blocks):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.h = nn.Sequential(*(GptBlock(width, heads) for _ in range(blocks)))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, text):
        return self.ln_f(self.h(self.wte(text.long()) + self.wpe.weight)) @ self.wte.weight.T


class Lstm(nn.Module):
    def __init__(self, letters, width, hidden):
        super().__init__()
        self.emb = nn.Embedding(letters, width)
        self.layer1 = nn.LSTM(width, hidden, batch_first=True)
        self.layer2 = nn.LSTM(hidden, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, letters)

    def forward(self, text):
        return self.fc(self.layer2(self.layer1(self.emb(text.long()))[0])[0])


def letters(*size):
    return np.random.default_rng(1).integers(0, 9, (ROWS, *size), dtype=np.uint8)


def pixels(*size):
    return np.random.default_rng(1).integers(0, 256, (ROWS, *size), dtype=np.uint8)


def noise(*size):
    return np.random.default_rng(1).standard_normal((ROWS, *size), dtype=np.float32)


@dataclass
class Model:
    path: str
    module: Callable
    small: tuple
    full: tuple
    rows: Callable = pixels
    small_row: tuple = (4, 3)
    full_row: tuple = (28, 28)


MODELS = {
    'slp': Model('models/slp.nnd', Slp, (12,), (784,)),
    'mlp': Model('models/mlp.nnd', Mlp, (12, 5), (784, 50)),
    'mlp_adam': Model('models/mlp_adam.nnd', MlpAdam, (12, 6), (784, 512)),
    'autoencoder': Model('models/autoencoder.nnd', Autoencoder, (12, 5, 3), (784, 128, 32)),
    'vae': Model('models/vae.nnd', Vae, (12, 6, 2), (784, 400, 20)),
    'gan': Model('models/gan.nnd', Gan, (12, 5, 6, 3), (784, 256, 512, 64), noise, (3,), (64,)),
    'pinn': Model('models/pinn.nnd', Pinn, (5,), (32,), noise, (1,), (1,)),
    'lenet': Model('models/lenet.nnd', Lenet, (16, 2, 3, 5, 4), (28, 8, 16, 120, 84), small_row=(16, 16)),
    'cnn': Model('models/cnn.nnd', Cnn, (6, 2, 3, 5), (196, 32, 64, 128), small_row=(6, 4)),
    'resnet': Model('models/resnet.nnd', Resnet, (2, 3, 4), (16, 32, 64), small_row=(8, 7)),
    'gpt': Model('models/gpt.nnd', Gpt, (9, 6, 8, 2, 2), (256, 128, 128, 4, 4), letters, (6,), (128,)),
    'lstm': Model('models/lstm.nnd', Lstm, (9, 3, 5), (128, 32, 128), letters, (7,), (64,)),
    'normed': Model('tests/reference/normed.nnd', Normed, (12, 5), (784, 50)),
    'attention': Model('tests/reference/attention.nnd', Attention, (3, 8), (28, 32)),
    'embedded': Model('tests/reference/embedded.nnd', Embedded, (12,), (112,)),
}


def away_from_initial(module):
    """Ones and zeros would hide a norm's weights and statistics that change places."""
    for name, t in module.state_dict().items():
        if not t.is_floating_point():
            t.fill_(7)
        elif t.dim() == 1:
            t.copy_(torch.rand_like(t) + 0.5)


def outputs(module, rows):
    with torch.no_grad():
        return module.double().eval()(torch.from_numpy(rows).double()).numpy()


def write():
    folder = os.path.join(HERE, 'models')
    os.makedirs(folder, exist_ok=True)
    for name, m in MODELS.items():
        torch.manual_seed(1)
        base = os.path.join(folder, name)
        module, rows = m.module(*m.small), m.rows(*m.small_row)
        away_from_initial(module)
        save_file(module.state_dict(), base + '.safetensors')
        plain.save(base + '.plain.safetensors', module.state_dict())
        np.save(base + '.x.npy', rows)
        if rows.dtype == np.float32:      # for --float 64
            np.save(base + '.x64.npy', rows.astype(np.float64))
        np.save(base + '.y.npy', outputs(module, rows))


def back(nnd):
    """What three steps of nnd end with: load_state_dict takes it, and predicts as nnd does, before and after PyTorch wrote it."""
    def run(*args):      # gpt learns from the text of tests/reference
        subprocess.run([nnd, *args], check=True, cwd=TOP, env={**os.environ, 'NND_DATA': 'tests/reference'}, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    worst = 0
    with tempfile.TemporaryDirectory() as work:
        ours, theirs, x, y, z = (os.path.join(work, f) for f in ('a.safetensors', 'b.safetensors', 'x.npy', 'y.npy', 'z.npy'))
        for name, m in MODELS.items():
            rows, module = m.rows(*m.full_row), m.module(*m.full)
            np.save(x, rows)
            run('train', m.path, '--steps', '3', '--save', ours)
            module.load_state_dict(load_file(ours), strict=True)
            save_file(module.state_dict(), theirs)
            run('predict', m.path, '--weights', ours, '--input', x, '--output', y)
            run('predict', m.path, '--weights', theirs, '--input', x, '--output', z)
            want = outputs(module, rows)
            far = np.max(np.abs(np.load(y) - want) / np.maximum(1, np.abs(want)))
            same = open(y, 'rb').read() == open(z, 'rb').read()
            print(f'{name}: outputs differ by {far:.1e}, written again by PyTorch {"the same" if same else "NOT the same"}')
            worst = max(worst, far, 0 if same else 1)
    sys.exit(not worst <= 1e-5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--back', metavar='NND')
    args = parser.parse_args()
    back(os.path.realpath(args.back)) if args.back else write()


if __name__ == '__main__':
    main()
