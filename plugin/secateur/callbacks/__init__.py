"""Keras callbacks that compress a model while it trains. Importing this imports Keras."""

from secateur.callbacks.base import Compression
from secateur.callbacks.binary import Binary
from secateur.callbacks.cluster import Cluster
from secateur.callbacks.deep_compression import DeepCompression
from secateur.callbacks.hyperspherical import HypersphericalTernary
from secateur.callbacks.logarithmic import Logarithmic
from secateur.callbacks.logger import CompressionLogger
from secateur.callbacks.lqnet import LQNet
from secateur.callbacks.network_slimming import NetworkSlimming
from secateur.callbacks.power_of_two import PowerOfTwo
from secateur.callbacks.projection import Projection
from secateur.callbacks.prune import Prune
from secateur.callbacks.quant_activation import QuantActivation, quantize_activations
from secateur.callbacks.quant_cells import QuantGRUCell, QuantLSTMCell, QuantSimpleRNNCell
from secateur.callbacks.quantized_nn import QuantizedNN
from secateur.callbacks.sensitivity import LayerPlan, Sensitivity, sensitivity
from secateur.callbacks.smart_deal import SmartDeal
from secateur.callbacks.sparse_binary import SparseBinary
from secateur.callbacks.ternarize import Ternarize
from secateur.callbacks.ttq import TernaryTTQ
from secateur.callbacks.twn import TernaryTWN
from secateur.callbacks.uniform import Uniform
from secateur.callbacks.xnor import XNOR

__all__ = [
    "XNOR",
    "Binary",
    "Cluster",
    "Compression",
    "CompressionLogger",
    "DeepCompression",
    "HypersphericalTernary",
    "LQNet",
    "LayerPlan",
    "Logarithmic",
    "NetworkSlimming",
    "PowerOfTwo",
    "Projection",
    "Prune",
    "QuantActivation",
    "QuantGRUCell",
    "QuantLSTMCell",
    "QuantSimpleRNNCell",
    "QuantizedNN",
    "Sensitivity",
    "SmartDeal",
    "SparseBinary",
    "Ternarize",
    "TernaryTTQ",
    "TernaryTWN",
    "Uniform",
    "quantize_activations",
    "sensitivity",
]
