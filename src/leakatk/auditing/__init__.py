"""Audits: does this model still leak when it is sampled?"""
