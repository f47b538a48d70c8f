from . import convert as convert
from . import explain as explain
from . import functional as functional
from . import linen as linen
from . import nnx as nnx
from .errors import UserError as UserError
from .inference.model import load as load
from .models import CapsNet as CapsNet
from .models import Decoder as Decoder
from .models import EfficientCapsNet as EfficientCapsNet
from .models import Encoder as Encoder
from .models import InvertedAttentionCapsNet as InvertedAttentionCapsNet
from .models import MatrixCapsNet as MatrixCapsNet
from .models import SabourCapsNet as SabourCapsNet
from .nnx import CapsuleDecoder as CapsuleDecoder
from .nnx import ClassCaps as ClassCaps
from .nnx import ConvCaps as ConvCaps
from .nnx import DenseCaps as DenseCaps
from .nnx import MatrixPrimaryCaps as MatrixPrimaryCaps
from .nnx import PrimaryCaps as PrimaryCaps
from .plan.config import Config as Config
from .plan.flags import configure as configure
from .plan.presets import preset as preset

__version__: str
