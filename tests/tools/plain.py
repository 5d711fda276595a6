"""plain.py - a safetensors file from PyTorch's tensors, without the package of that name."""
import json
import struct
import torch

NAME = {torch.float32: 'F32', torch.float64: 'F64', torch.int64: 'I64'}


def save(path, tensors):
    head, blob = {}, b''
    for name, t in tensors.items():
        raw = t.detach().contiguous().numpy().tobytes()
        head[name] = {'dtype': NAME[t.dtype], 'shape': list(t.shape), 'data_offsets': [len(blob), len(blob) + len(raw)]}
        blob += raw
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + blob)
