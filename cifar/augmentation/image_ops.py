"""Image operations on uint8 batches in which every image has its own parameter.

Each does to an image what its counterpart in torchvision's `transforms.v2.functional` does to that uint8
tensor alone, pixel for pixel when height and width are powers of two (32, 16). At other sizes a shear may
take the other of two equally near pixels, for less than 0.1 % of them.

Parameters are CPU tensors of shape (B,), float64 where they are not whole numbers, sent to the images' device
without waiting for it. No operation modifies its input, reads a result back, or draws a random number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 256


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor sent to `device`; on CUDA through pinned memory, since a pageable copy would wait."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def horizontal_flip(images: Tensor, flip: Tensor) -> Tensor:
    """Mirrors images left-right where `flip`, shape (B,), is true."""
    both = torch.cat([images, images.flip(-1)])  # (2B, 3, H, W)
    chosen = torch.arange(len(images)) + len(images) * flip
    return both.index_select(0, on_device(chosen, images.device))


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int, *, reflect: bool = False) -> Tensor:
    """Cuts each image's own size out of the image padded by `padding` pixels on each side.

    Args:
        images: uint8 (B, 3, H, W).
        top: first row of each window, in 0..2 * padding.
        left: first column of each window, in 0..2 * padding.
        padding: pixels on each side.
        reflect: whether these mirror the image at its border pixels; otherwise they are zero.
    """
    if images.device.type == "mps":  # would copy every window of the view below
        return _crop_by_gather(images, top, left, padding, reflect=reflect)
    batch, channels, height, width = images.shape
    padded = _reflected(images, padding) if reflect else F.pad(images, (padding,) * 4).contiguous()
    strides = padded.stride()
    window = (channels - 1) * strides[1] + (height - 1) * strides[2] + width
    # Window i starts at byte i. Picking windows copies whole rows: 3 times faster than a gather of pixels.
    windows = padded.as_strided((padded.numel() - window + 1, channels, height, width), (1, *strides[1:]))
    starts = torch.arange(batch) * strides[0] + top * strides[2] + left
    return windows.index_select(0, on_device(starts, images.device))


def _crop_by_gather(images: Tensor, top: Tensor, left: Tensor, padding: int, *, reflect: bool = False) -> Tensor:
    height, width = images.shape[-2:]
    rows = on_device(top[:, None, None] + torch.arange(height)[:, None] - padding, images.device)  # (B, H, 1)
    columns = on_device(left[:, None, None] + torch.arange(width) - padding, images.device)  # (B, 1, W)
    if reflect:
        rows, columns = _mirrored_inside(rows, height), _mirrored_inside(columns, width)
    return _take_pixels(images, rows, columns)


def _reflected(images: Tensor, padding: int) -> Tensor:
    """uint8 images, contiguous, with `padding` pixels more on each side; `F.pad` reflects floats only."""
    height, width = images.shape[-2:]
    rows = torch.arange(-padding, height + padding, device=images.device)
    columns = torch.arange(-padding, width + padding, device=images.device)
    wide = images.contiguous().index_select(3, _mirrored_inside(columns, width))
    return wide.index_select(2, _mirrored_inside(rows, height))


def _mirrored_inside(index: Tensor, size: int) -> Tensor:
    """Positions along a line, mirrored at its ends 0 and size - 1 until they lie on it."""
    period = max(1, 2 * (size - 1))
    return (size - 1) - (index.remainder(period) - (size - 1)).abs()


def _take_pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Output pixel (y, x) of image b is its pixel (rows, columns)[b, y, x], or black outside the image."""
    batch, channels, height, width = images.shape
    inside_rows, inside_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    inside = (rows == inside_rows) & (columns == inside_columns)  # (B, H, W)
    index = (inside_rows * width + inside_columns).long().view(batch, 1, -1)
    taken = images.flatten(2).gather(2, index.expand(-1, channels, -1))
    return taken.view(batch, channels, height, width).mul_(inside.unsqueeze(1))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns images counter-clockwise about their centre; nearest pixel, black outside."""
    angle = torch.deg2rad(-degrees.remainder(360))
    zero = torch.zeros_like(angle)
    return _affine(images, [angle.cos(), angle.sin(), zero], [-angle.sin(), angle.cos(), zero])


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each row left by `slope` times its distance from the top; nearest pixel, black outside."""
    zero, one = torch.zeros_like(slope), torch.ones_like(slope)
    return _affine(images, [one, slope, slope * (0.5 * images.shape[-2])], [zero, one, zero])


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Moves each column up by `slope` times its distance from the left; nearest pixel, black outside."""
    zero, one = torch.zeros_like(slope), torch.ones_like(slope)
    return _affine(images, [one, zero, zero], [slope, one, slope * (0.5 * images.shape[-1])])


def translate(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Shifts images by whole pixels; black comes in."""
    height, width = images.shape[-2:]
    rows = on_device(torch.arange(height)[:, None] - down.long()[:, None, None], images.device)  # (B, H, 1)
    columns = on_device(torch.arange(width) - right.long()[:, None, None], images.device)  # (B, 1, W)
    return _take_pixels(images, rows, columns)


def _affine(images: Tensor, x_weights: list[Tensor], y_weights: list[Tensor]) -> Tensor:
    """Fills every output pixel from the input pixel nearest to an affine function of its position.

    Args:
        images: uint8 (B, 3, H, W).
        x_weights: three tensors (B,): the input x is the sum of them times output x, output y and 1.
            Positions are in pixels, from the image's centre.
        y_weights: the same for the input y.
    """
    height, width = images.shape[-2:]
    columns = _nearest_pixel(x_weights, height, width, size=width, device=images.device)
    rows = _nearest_pixel(y_weights, height, width, size=height, device=images.device)
    return _take_pixels(images, rows, columns)


def _nearest_pixel(
    weights: list[Tensor], height: int, width: int, *, size: int, device: torch.device
) -> Tensor:  # (B, H, W)
    """The input row or column nearest to each output pixel, as a whole float32 number that may lie outside.

    Positions fall half-way between two pixels often enough (shears by 0.09 or 0.3) that the rounding of each
    step decides; these steps round as torchvision's matrix product and `grid_sample` do.
    """
    scaled = on_device(torch.stack(weights).float() / (0.5 * size), device)
    per_x, per_y, constant = scaled[:, :, None, None].unbind()
    x = torch.arange(width, device=device) - 0.5 * (width - 1)  # (W,)
    y = (torch.arange(height, device=device) - 0.5 * (height - 1))[:, None]  # (H, 1)
    position = _multiply_add(per_x * x, per_y, y).add_(constant)  # (B, H, W), -1 to 1 across the image
    return position.add_(1).mul_(0.5 * size).sub_(0.5).round_()


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies every pixel by `factor`: 0 is black, 1 the image."""
    return _to_uint8(images * _per_image(factor, images))


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the grey image: 0 is grey, 1 the image, more is more colourful."""
    return _blend(images, _grey(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image's mean grey: 0 is flat, 1 the image."""
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the blurred image: 0 is blurred, 1 the image, more is sharper. The border stays."""
    inner = images[..., 1:-1, 1:-1].float()
    change = _blurred(images).sub_(inner)
    result = images.clone()
    result[..., 1:-1, 1:-1] = _to_uint8(_multiply_add(inner, _per_image(1 - factor, images), change))
    return result


def _blurred(images: Tensor) -> Tensor:  # (B, 3, H - 2, W - 2), whole numbers in float32
    """Mean of each inner pixel (weight 5) and its eight neighbours (weight 1), rounded."""
    levels = images.to(torch.int16)
    rows = levels[..., :-2, :] + levels[..., 1:-1, :] + levels[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * levels[..., 1:-1, 1:-1]
    return total.float().div_(13).round_()  # thirteenths are never half-way, so any arithmetic agrees


def _grey(images: Tensor) -> Tensor:  # (B, 1, H, W), whole numbers in float32
    """Luminance (ITU-R BT.601), rounded down."""
    red, green, blue = images.unbind(1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_().unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`factor` times the image plus `1 - factor` times `other`."""
    weighted = images * _per_image(factor, images)
    return _to_uint8(_multiply_add(weighted, _per_image(1 - factor, images), other))


def _multiply_add(base: Tensor, factor: Tensor, other: Tensor) -> Tensor:
    """`base + factor * other` in float32, rounded once like the fused multiply-add of torchvision's kernels.

    Rounding twice would turn many greys v into v - 1, since the cast to uint8 cuts fractions off. MPS has no
    float64 and rounds twice.
    """
    if base.device.type == "mps":
        return base + factor * other
    return (base + factor.double() * other).float()


def _per_image(values: Tensor, images: Tensor) -> Tensor:  # (B, 1, 1, 1) float32 on the images' device
    return on_device(values.float(), images.device).view(-1, 1, 1, 1)


def _to_uint8(levels: Tensor) -> Tensor:
    return levels.clamp_(0, LEVELS - 1).to(torch.uint8)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the `bits` (0 to 8) highest bits of every level."""
    mask = (0xFF << (8 - bits.long())) & 0xFF
    return images & on_device(mask.to(torch.uint8), images.device).view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts levels at or above `threshold` (0 to 255)."""
    least = on_device(threshold.float().ceil().to(torch.uint8), images.device).view(-1, 1, 1, 1)
    return torch.where(images >= least, ~images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel's levels to 0..255; a channel of one level stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)  # (B, 3, 1, 1)
    flat = low == high
    scale = torch.where(flat, 1.0, (high - low) * (1 / (LEVELS - 1)))
    return _to_uint8((images - torch.where(flat, 0, low)) / scale)


def equalize(images: Tensor) -> Tensor:
    """Maps each channel's levels so that they are used about equally often (PIL's rule)."""
    levels = images.flatten(2)  # (B, 3, H * W)
    index = levels.long()
    ones = torch.ones(1, dtype=torch.int32, device=images.device).expand_as(index)
    histogram = ones.new_zeros(*index.shape[:2], LEVELS).scatter_add_(2, index, ones)
    darker = histogram.cumsum(2, dtype=torch.int32) - histogram  # pixels below each level
    brightest = (levels == levels.amax(2, keepdim=True)).sum(2, keepdim=True, dtype=torch.int32)
    step = (levels.shape[2] - brightest) // (LEVELS - 1)  # pixels a level; 0 leaves the channel as it is
    equal = ((darker + step // 2) // step.clamp(min=1)).clamp_(max=LEVELS - 1)
    table = torch.where(step > 0, equal, torch.arange(LEVELS, device=images.device)).to(torch.uint8)
    return table.gather(2, index).view_as(images)


def box_mask(boxes: Tensor, height: int, width: int, device: torch.device) -> Tensor:
    """True inside each image's box, shape (B, 1, height, width), on `device`.

    Args:
        boxes: int64 (B, 4) on the CPU: first row, first column, last row + 1, last column + 1. A box may lie
            partly outside.
        height: rows of an image.
        width: columns of an image.
        device: where the mask is needed.
    """
    top, left, bottom, right = on_device(boxes.T, device)[:, :, None].unbind()  # (B, 1) each
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = (top <= y) & (y < bottom), (left <= x) & (x < right)  # (B, H), (B, W)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def fill_boxes(images: Tensor, boxes: Tensor, fill: tuple[int, int, int]) -> Tensor:
    """Paints each image's box, as in `box_mask`, in one colour."""
    colour = on_device(torch.tensor(fill, dtype=torch.uint8), images.device).view(1, 3, 1, 1)
    height, width = images.shape[-2:]
    return torch.where(box_mask(boxes, height, width, images.device), colour, images)
