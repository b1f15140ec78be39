"""Measurements of networks: the activity and gradients of each layer, problems found in them, operations and energy."""

from surgrad.measure.diagnosis import Diagnosis as Diagnosis
from surgrad.measure.diagnosis import Finding as Finding
from surgrad.measure.diagnosis import diagnose as diagnose
from surgrad.measure.diagnosis import findings as findings
from surgrad.measure.layers import LayerEvidence as LayerEvidence
from surgrad.measure.layers import evidence as evidence
from surgrad.measure.operations import Accounting as Accounting
from surgrad.measure.operations import Energy as Energy
from surgrad.measure.operations import energy as energy
from surgrad.measure.recording import Recording as Recording
from surgrad.measure.recording import record as record
