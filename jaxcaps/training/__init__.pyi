from .callbacks import Callback as Callback
from .callbacks import Finished as Finished
from .loop import Result as Result
from .loop import train as train
