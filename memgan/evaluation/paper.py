"""Quotes the figures that the paper publishes (Ning et al., ACM MM 2023)."""

from collections.abc import Collection
from typing import Any

from memgan.runtime.tables import text_table

TABLE_1_DATA = "CelebA-Test"  # 2,824 faces of CelebA-HQ, degraded by Eq. 14

TABLE_1: dict[str, dict[str, float]] = {
    "Input": {"FID": 99.09, "PSNR": 24.61, "SSIM": 0.6180, "LPIPS": 0.6276},
    "DFDNet": {"FID": 42.39, "PSNR": 23.23, "SSIM": 0.6351, "LPIPS": 0.4891},
    "PULSE": {"FID": 43.58, "PSNR": 21.48, "SSIM": 0.5791, "LPIPS": 0.4893},
    "Wan et al.": {"FID": 77.45, "PSNR": 24.03, "SSIM": 0.6065, "LPIPS": 0.5379},
    "PSFRGAN": {"FID": 21.03, "PSNR": 24.19, "SSIM": 0.6069, "LPIPS": 0.3960},
    "GPEN": {"FID": 14.41, "PSNR": 24.14, "SSIM": 0.6104, "LPIPS": 0.3593},
    "GFP-GAN": {"FID": 16.42, "PSNR": 24.17, "SSIM": 0.6403, "LPIPS": 0.3405},
    "CodeFormer": {"FID": 16.97, "PSNR": 23.39, "SSIM": 0.6110, "LPIPS": 0.3503},
    "DiFace": {"FID": 15.50, "PSNR": 23.84, "SSIM": 0.6275, "LPIPS": 0.3825},
    "DR2": {"FID": 31.15, "PSNR": 23.96, "SSIM": 0.6352, "LPIPS": 0.4182},
    "MemGAN": {"FID": 13.01, "PSNR": 24.28, "SSIM": 0.6249, "LPIPS": 0.3487},
}
"""Table 1; FID and LPIPS lower is better, PSNR (dB) and SSIM higher."""

TABLE_2: dict[str, dict[str, float]] = {
    "Case 1": {"FID": 34.94, "PSNR": 15.25, "SSIM": 0.4456, "LPIPS": 0.5210},
    "Case 2": {"FID": 17.22, "PSNR": 23.95, "SSIM": 0.6154, "LPIPS": 0.3628},
    "Case 3": {"FID": 16.34, "PSNR": 24.04, "SSIM": 0.6162, "LPIPS": 0.3626},
    "Case 4": {"FID": 15.56, "PSNR": 23.00, "SSIM": 0.6101, "LPIPS": 0.3739},
    "Case 5": {"FID": 13.46, "PSNR": 24.28, "SSIM": 0.6249, "LPIPS": 0.3487},
}
"""Table 2, on CelebA-Test: without memory and fusions; without memory; without affine fusion; without blend fusion;
MemGAN. Its FID of MemGAN differs from that of Table 1 (13.01); both are quoted as printed.
"""

TABLE_3: dict[str, dict[str, float]] = {
    "Input": {"LFW": 122.58, "CelebChild": 136.44, "WebPhoto": 176.53},
    "DFDNet": {"LFW": 66.68, "CelebChild": 115.20, "WebPhoto": 124.13},
    "Wan et al.": {"LFW": 109.37, "CelebChild": 166.44, "WebPhoto": 159.64},
    "PSFRGAN": {"LFW": 67.08, "CelebChild": 136.46, "WebPhoto": 111.87},
    "GFP-GAN": {"LFW": 61.91, "CelebChild": 128.51, "WebPhoto": 125.69},
    "VQFR": {"LFW": 57.33, "CelebChild": 110.67, "WebPhoto": 113.32},
    "CodeFormer": {"LFW": 58.85, "CelebChild": 122.11, "WebPhoto": 114.67},
    "DifFace": {"LFW": 58.94, "CelebChild": 121.29, "WebPhoto": 125.92},
    "DR2": {"LFW": 59.70, "CelebChild": 129.50, "WebPhoto": 140.01},
    "MemGAN": {"LFW": 56.60, "CelebChild": 115.79, "WebPhoto": 106.83},
}
"""Table 3: FID of real photographs against the truths of CelebA-Test; lower is better."""


def table_1_text(columns: Collection[str] | None = None) -> str:
    """Table 1 as text, with what it was measured on; ``columns``: those of them, ``None``: all."""
    kept = [name for name in TABLE_1["Input"] if columns is None or name in columns]
    if not kept:
        return "The paper publishes no figures of these metrics for degraded faces."
    digits = {"FID": 2, "PSNR": 2, "SSIM": 4, "LPIPS": 4}
    caption = (
        f"Published by the paper (Table 1), on other faces: {TABLE_1_DATA}, 2,824 of CelebA-HQ, degraded by Eq. 14.\n"
        "MemGAN is the paper's own network on StyleGAN2. Its FID and LPIPS are other metrics than fd_* and st_lpips."
    )
    return f"{caption}\n{_text({name: digits[name] for name in kept}, TABLE_1)}"


def table_3_text() -> str:
    """Table 3 as text, with what it was measured on."""
    caption = (
        f"Published by the paper (Table 3), on its own photographs: FID of restored faces to those of {TABLE_1_DATA}.\n"
        "MemGAN is the paper's own network on StyleGAN2. FID is another metric than fd_* and kd_*."
    )
    return f"{caption}\n{_text(dict.fromkeys(TABLE_3['Input'], 2), TABLE_3)}"


def _text(digits: dict[str, int], table: dict[str, dict[str, float]]) -> str:
    rows = [[name, *(f"{row[column]:.{places}f}" for column, places in digits.items())] for name, row in table.items()]
    return text_table(["", *digits], rows)


def tables() -> dict[str, Any]:
    """All tables, ready for JSON."""
    first, second = ({"data": TABLE_1_DATA, "rows": table} for table in (TABLE_1, TABLE_2))
    return {"table_1": first, "table_2": second, "table_3_fid": TABLE_3}
