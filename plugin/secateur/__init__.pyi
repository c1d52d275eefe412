from .callbacks import (
    XNOR as XNOR,
)
from .callbacks import (
    Binary as Binary,
)
from .callbacks import (
    Cluster as Cluster,
)
from .callbacks import (
    Compression as Compression,
)
from .callbacks import (
    CompressionLogger as CompressionLogger,
)
from .callbacks import (
    DeepCompression as DeepCompression,
)
from .callbacks import (
    HypersphericalTernary as HypersphericalTernary,
)
from .callbacks import (
    LayerPlan as LayerPlan,
)
from .callbacks import (
    Logarithmic as Logarithmic,
)
from .callbacks import (
    LQNet as LQNet,
)
from .callbacks import (
    NetworkSlimming as NetworkSlimming,
)
from .callbacks import (
    PowerOfTwo as PowerOfTwo,
)
from .callbacks import (
    Projection as Projection,
)
from .callbacks import (
    Prune as Prune,
)
from .callbacks import (
    QuantActivation as QuantActivation,
)
from .callbacks import (
    QuantGRUCell as QuantGRUCell,
)
from .callbacks import (
    QuantizedNN as QuantizedNN,
)
from .callbacks import (
    QuantLSTMCell as QuantLSTMCell,
)
from .callbacks import (
    QuantSimpleRNNCell as QuantSimpleRNNCell,
)
from .callbacks import (
    Sensitivity as Sensitivity,
)
from .callbacks import (
    SmartDeal as SmartDeal,
)
from .callbacks import (
    SparseBinary as SparseBinary,
)
from .callbacks import (
    Ternarize as Ternarize,
)
from .callbacks import (
    TernaryTTQ as TernaryTTQ,
)
from .callbacks import (
    TernaryTWN as TernaryTWN,
)
from .callbacks import (
    Uniform as Uniform,
)
from .callbacks import (
    quantize_activations as quantize_activations,
)
from .callbacks import (
    sensitivity as sensitivity,
)
from .errors import (
    BudgetError as BudgetError,
)
from .errors import (
    DataError as DataError,
)
from .errors import (
    ModelError as ModelError,
)
from .errors import (
    RangeWarning as RangeWarning,
)
from .errors import (
    SecateurError as SecateurError,
)
from .errors import (
    StreamError as StreamError,
)
from .errors import (
    TargetError as TargetError,
)
from .errors import (
    ToolError as ToolError,
)
from .exploration import (
    Combinations as Combinations,
)
from .exploration import (
    Exploration as Exploration,
)
from .exploration import (
    Point as Point,
)
from .exploration import (
    Space as Space,
)
from .exploration import (
    combinations as combinations,
)
from .exploration import (
    compress as compress,
)
from .exploration import (
    default_space as default_space,
)
from .exploration import (
    explore as explore,
)
from .exploration import (
    quality as quality,
)
from .exploration import (
    retrain as retrain,
)
from .flow import (
    CompiledModel as CompiledModel,
)
from .flow import (
    convert as convert,
)
from .flow import (
    deploy as deploy,
)
from .flow import (
    load as load,
)
from .flow import (
    to_tflite as to_tflite,
)
from .lowering.mfcc import (
    Mfcc as Mfcc,
)
from .report import (
    Report as Report,
)
from .slimming import (
    FPGM as FPGM,
)
from .slimming import (
    NISP as NISP,
)
from .slimming import (
    ActivationMean as ActivationMean,
)
from .slimming import (
    Complexity as Complexity,
)
from .slimming import (
    FilterPlan as FilterPlan,
)
from .slimming import (
    L1Filters as L1Filters,
)
from .slimming import (
    L2Filters as L2Filters,
)
from .slimming import (
    RandomFilters as RandomFilters,
)
from .slimming import (
    Slimming as Slimming,
)
from .slimming import (
    Taylor as Taylor,
)
from .slimming import (
    ThiNet as ThiNet,
)
from .slimming import (
    filter_plan as filter_plan,
)
from .slimming import (
    prune_filters as prune_filters,
)

__version__: str
