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
    QuantizedNN as QuantizedNN,
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
from .report import (
    Report as Report,
)

__version__: str
