"""Captum in the race; RISE, which it does not have, is a plain loop of PyTorch."""

import captum
import numpy as np
import torch
import torch_network
import works
from captum import attr
from protocol import serve
from torch.nn.functional import interpolate


def load(name, folder):
    def contestant(work, images, options):
        # Captum's rules of ReLUs are hooks, which inplace ReLUs do not bear.
        network = torch_network.read(folder, name, inplace=work != "guided").eval()
        network.requires_grad_(options["weight_gradients"])
        order = torch.channels_last if options["channels_last"] else torch.contiguous_format
        network = network.to(memory_format=order)
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(memory_format=order)
        run = explainer(network, name, work, x, options)
        return lambda: run().detach().permute(0, 2, 3, 1).numpy()

    return contestant


def explainer(network, name, work, x, options):
    target, batch = works.TARGET, len(x)
    rows = options.get("rows", batch)
    each = max(1, rows // batch)
    if work == "gradient":
        saliency = attr.Saliency(network)
        return lambda: saliency.attribute(x, target=target, abs=False)
    if work == "ig":
        integrated = attr.IntegratedGradients(network)
        return lambda: integrated.attribute(
            x,
            target=target,
            n_steps=works.STEPS,
            method="gausslegendre",
            internal_batch_size=max(rows, batch),
        )
    if work == "smoothgrad":
        tunnel = attr.NoiseTunnel(attr.Saliency(network))
        return lambda: tunnel.attribute(
            x,
            target=target,
            nt_samples=works.SAMPLES,
            nt_samples_batch_size=each,
            stdevs=works.NOISE,
            abs=False,
        )
    if work == "guided":
        guided = attr.GuidedBackprop(network)
        return lambda: guided.attribute(x, target=target)
    if work == "grad_cam":
        layer = torch_network.activations(network, works.CAM_LAYERS[name])
        cam = attr.LayerGradCam(network, layer)
        return lambda: attr.LayerAttribution.interpolate(
            cam.attribute(x, target=target, relu_attributions=True), x.shape[2:], "bilinear"
        )
    if work == "occlusion":
        occlusion = attr.Occlusion(network)
        patch = (3, works.PATCH, works.PATCH)
        return lambda: occlusion.attribute(
            x, patch, strides=patch, target=target, perturbations_per_eval=each
        )[:, :1]
    return lambda: torch.stack([rise(network, image, options["masks"], rows) for image in x])


@torch.inference_mode()
def rise(network, image, count, rows):
    """Give the mean of the masks of Petsiuk et al. 2018, weighted by the target's probability."""
    side = image.shape[-1]
    cell = -(-side // works.GRID)
    total = torch.zeros(1, side, side)
    for start in range(0, count, rows):
        n = min(rows, count - start)
        coarse = (torch.rand(n, 1, works.GRID, works.GRID) < 0.5).float()
        fine = interpolate(coarse, size=(works.GRID + 1) * cell, mode="bilinear")
        shifts = torch.randint(0, cell, (n, 2)).tolist()
        masks = torch.stack(
            [m[:, i : i + side, j : j + side] for m, (i, j) in zip(fine, shifts, strict=True)]
        )
        scores = network(image * masks).softmax(1)[:, works.TARGET]
        total += (scores[:, None, None, None] * masks).sum(0)
    return total / (count * 0.5)


if __name__ == "__main__":
    serve(
        load,
        {"captum": captum.__version__, "torch": torch.__version__, "numpy": np.__version__},
    )
