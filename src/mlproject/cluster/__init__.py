"""Fits on several workers, of this machine or of a Ray cluster. Only this package imports ray, and only when it is asked to.

* `pool` is the driver's side: it starts or joins Ray, submits fits, and collects what came of them.
* `share` says what each worker gets of the cores and GPUs.
* `parcel` carries a task to the workers.
* `worker` is what runs in a worker.
* `attempts` are the fits under way, seen from the driver.
* `board` is where workers post epochs meanwhile.
"""
