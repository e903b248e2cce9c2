"""Spectra of kernels: eigenvalues of K / n on data, exact eigenvalues on the sphere, and how fast they fall.

Property 2 of the lecture (Geifman et al., 2020): lambda_i falls like i^-alpha with alpha > 1. On the sphere of R^p the NTK's
eigenvalue of degree k falls like k^-p, so alpha = p / (p - 1). Property 4, universality, is whether all are positive.
"""

from __future__ import annotations
