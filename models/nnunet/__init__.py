"""What nnU-Net v2 does around its network, to the same label map: its folders are converted, its code is not needed.

Isensee et al., Nature Methods 18, 203 (2021). Followed is nnunetv2 2.8.1 with the settings of its `nnUNetPredictor`.
"""
