"""Networks in plain NumPy in the manner of the books "Deep Learning from Scratch" 1 and 2.

Written for these tests after the books' interfaces and conventions: ``one_*`` has layers with dW
and db and optimizers on dicts, ``two_*`` has layers with the lists params and grads.
"""
