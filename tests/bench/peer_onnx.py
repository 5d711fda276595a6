"""peer_onnx.py - ONNX Runtime on inference: nets exported by PyTorch, once, into the work folder."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'layers'))
import onnxruntime

import work


def export(w, path, folder):
    import torch
    from safetensors.torch import load_file

    import models
    net = models.MODELS[w.model].module(*models.MODELS[w.model].full).eval()
    net.load_state_dict(load_file(os.path.join(folder, w.model + '.safetensors')))
    torch.onnx.export(net, (torch.zeros(w.batch, 28, 28, dtype=torch.uint8),), path, input_names=['image'], dynamo=True, verbose=False)


def main():
    args = work.arguments()
    w = work.find(args.workload)
    path = os.path.join(args.work, w.name + '.onnx')
    if not os.path.exists(path):
        export(w, path, args.work)
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = args.threads, 1
    session = onnxruntime.InferenceSession(path, o, providers=['CPUExecutionProvider'])
    rows = {'image': work.images(args.work)[0][:w.batch]}
    for _ in range(work.WARM):
        session.run(None, rows)
    work.tell(work.timed(lambda i: session.run(None, rows), w.steps))


if __name__ == '__main__':
    main()
