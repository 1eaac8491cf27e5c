"""In which precision layers take their input."""

import torch
from torch import nn

from mrd_hf.models.encoder_layers import floating_dtype, in_dtype_of


def test_quantized_weights_are_no_precision_to_compute_in():
    """As those of bitsandbytes, whose integers coordinates would be cut to."""
    quantized = nn.Linear(2, 2)
    quantized.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    features = torch.full((2, 2), 0.5)
    assert torch.equal(in_dtype_of(quantized, features), features)
    assert in_dtype_of(nn.Linear(2, 2).half(), features).dtype == torch.float16
    network = nn.Sequential(quantized, nn.LayerNorm(2).to(torch.bfloat16))
    quantized.bias = None
    assert floating_dtype(network) == torch.bfloat16 and floating_dtype(quantized) == torch.float32
