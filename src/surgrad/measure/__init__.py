"""Instruments: what the layers of a network do, read through the same histograms as the controllers' own."""

from surgrad.measure.diagnose import Diagnosis as Diagnosis
from surgrad.measure.diagnose import Finding as Finding
from surgrad.measure.diagnose import diagnose as diagnose
from surgrad.measure.diagnose import findings as findings
from surgrad.measure.energy import Accounting as Accounting
from surgrad.measure.energy import Energy as Energy
from surgrad.measure.energy import energy as energy
from surgrad.measure.evidence import LayerEvidence as LayerEvidence
from surgrad.measure.evidence import evidence as evidence
