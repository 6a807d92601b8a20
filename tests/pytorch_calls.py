"""Expressions that mean the same in tilegrad and in PyTorch: t is the package, F its functional,
x, y and z are tensors. ``test_pytorch.py`` evaluates each in both."""

ONE = """
t.clamp(x, -1, 1); t.clamp(x, min=0.5); x.clamp(max=1); x.clip(-1.5, 2); t.clip(x, 2, 1)
x.clone().clamp_(0); x.clone().clip_(0, 1); t.clamp_min(x, 1); t.clamp_max(x, 1); x.clamp_min(0)
x.clamp_max(2); x.clone().clamp_min_(1); x.clone().clamp_max_(1)
t.flip(x, (0, )); x.flip(0, -1); t.roll(x, 1); x.roll((1, 2), (0, 1))
t.roll(x, -1, 0); t.tril(x); t.triu(x, 1); x.tril(-1); x.triu(); t.movedim(x, 0, -1)
x.movedim(0, 1); x.moveaxis(0, -1); t.moveaxis(x, (0, 1), (1, 0)); t.squeeze(x); x.squeeze(0)
t.squeeze(x, (0, 1)); t.squeeze(x, axis=0); t.unsqueeze(x, 0); x.unsqueeze(-1)
t.unsqueeze(x, axis=-2); t.split(x, 2); x.split([1, 2]); x.split(2, 1); t.chunk(x, 2, -1)
x.chunk(5); t.chunk(x, 2, dim=0); t.unbind(x); x.unbind(-1); t.narrow(x, 0, 1, 2)
x.narrow(-1, -2, 1); t.select(x, 0, 1); x.select(-1, -1); t.flatten(x); x.flatten(1)
t.flatten(x, 0, -2); t.ravel(x); x.ravel(); t.reshape(x, (-1, )); x.reshape(2, -1); x.view(-1)
x.view(-1, 2); x.reshape_as(x); x.view_as(x); t.transpose(x, 0, 1); x.transpose(-1, -2)
t.swapaxes(x, axis0=0, axis1=1); x.swapaxes(0, 1); t.swapdims(x, 0, -1); x.swapdims(1, 0); t.t(x)
x.t(); x.T; t.permute(x, (1, 0)); x.permute(1, 0); x.permute(2, 0, 1); t.fliplr(x); x.fliplr()
t.flipud(x); x.flipud(); x.expand(2, 3, 4); x.expand((2, -1, -1)); x.expand_as(x)
t.broadcast_to(x, (2, 3, 4)); x.broadcast_to((3, 4)); t.unflatten(x, 1, (2, 2))
x.unflatten(-1, (2, -1)); t.broadcast_tensors(x, x[:1]); t.nonzero(x); x.nonzero(as_tuple=True)
t.nonzero(x, as_tuple=True); t.argwhere(x); x.argwhere(); t.count_nonzero(x); x.count_nonzero(0)
x[0]; x[-1]; x[..., 0]; x[:, 1]; x[1:, ::2]; x[None]; x[x>0]; x[[0, 1]]; x[t.tensor([0, 0, -1])]
x[:, [0, 1]]; x[[0, 1], [1, 0]]; x[..., [0]]; x[0:0]; x[True]; x[t.tensor(1)]
t.take(x, t.tensor([0, 2])); x.take(t.tensor([[-1]])); t.index_select(x, 0, t.tensor([0, 0]))
x.index_select(-1, t.tensor([1])); t.masked_select(x, x>0); x.masked_select(x>0)
t.gather(x, 0, t.tensor([[0, 1, 1, 0]])); x.gather(-1, t.tensor([[0, 1]]))
t.index_fill(x, 0, t.tensor([0]), 1); x.clone().index_fill_(1, t.tensor([0]), 1)
x.index_fill(1, t.tensor([0]), 1); t.take_along_dim(x, t.tensor([0, 3]))
t.take_along_dim(x, t.argmax(x*1.0, 1, keepdim=True), 1); x.take_along_dim(t.tensor([[0]]), 0)
t.index_copy(x, 0, t.tensor([2, 1, 0]), x); x.index_copy(0, t.tensor([2]), x[:1]); t.cumsum(x, 0)
x.cumsum(1); x.clone().index_copy_(0, t.tensor([0]), x[1:2]); t.cumsum(x, axis=0)
t.cumprod(x, -1); x.cumprod(axis=0); t.cumsum(x, 0, dtype=t.int32); t.clone(x); x.clone()
x.contiguous(); x.double(); x.float(); x.half(); x.bool(); x.bfloat16(); x.long(); x.int()
x.short(); x.char(); x.abs().byte(); x.type_as(t.tensor(1.0)); x.numel(); x.dim(); x.ndim
x.nelement(); x.ndimension(); x.new_tensor([1, 2]); x.new_tensor(1.5, dtype=t.float64)
x.nbytes; x.itemsize; x.element_size(); x.is_contiguous(); len(x); x.mT.is_contiguous()
x.tolist(); x.stride(); x.is_floating_point(); x.requires_grad; x.is_leaf; x.grad
x.new_zeros(2, 3); x.new_ones((2, )); x.new_full((2, ), 3); x.new_empty(2, 0)
x.nelement(); x.ndimension(); x.new_tensor([1, 2])
x.new_zeros((2, ), dtype=t.int32); t.zeros_like(x); t.ones_like(x, dtype=t.float64)
t.full_like(x, 2); t.full_like(x, 1.0); t.is_tensor(x); x.clone().fill_(1); x.clone().zero_()
x.detach(); x.clone().detach_(); x.mT; t.round(x*1.7); t.rand_like(x*1.0).shape == x.shape
t.randn_like(x*1.0).dtype == (x*1.0).dtype; t.randint_like(x, 3).shape == x.shape
x.masked_fill(x>0, 1); t.masked_fill(x, x>1, 0); x.clone().masked_fill_(x>0, 1)
t.scatter_add(x*1.0, 0, t.tensor([[0, 1, 2, 0]]), x*1.0)
(x*1.0).scatter_add(0, t.tensor([[0, 1, 2, 0]]), x*1.0)
t.index_add(x*1, 0, t.tensor([0, 1, 0]), x*1)
(x*1).index_add_(0, t.tensor([0, 1, 0]), x*1, alpha=2); (x*1).index_add(0, t.tensor([0]), x[:1]*1)
(x*1.0).scatter_add_(0, t.tensor([[0, 1, 2, 0]]), x*1.0)
t.index_put(x, (t.tensor([0, 2]), ), x[:2])
x.clone().index_put_((t.tensor([0, 0]), t.tensor([1, 1])), x[0, :2], accumulate=True)
x.index_put((x>0, ), x[0, 0]); t.hstack([x, x]); t.vstack([x, x]); t.stack([x, x], -1)
t.cat((x, x), dim=1); t.concat([x, x], axis=0); t.concatenate([x, x]); t.stack([x, x], axis=1)
t.outer(x.ravel(), x.ravel()); t.softmax(x*1.0, 1); (x*1.0).softmax(1); (x*1.0).log_softmax(-1)
t.log_softmax(x, 0, t.float64); (x*1.0).bernoulli(0.0); t.bernoulli(x*0.0)
(x*1.0).bernoulli_(1.0); t.all(x, 1).shape; x.data_ptr() == x.data_ptr(); t.isnan(x).any()
x.max(1); x.min(0, keepdim=True); t.max(x, dim=1, keepdim=True).values; t.max(x); x.min()
t.max(x, axis=0); x.argmax(); t.argmin(x, 0); t.argmax(x, 1, keepdim=True)
t.argmax(x, axis=0, keepdims=True); x.argmin(1); (x*1.0).normal_().shape; (x*0.0).normal_(1, 0)
t.std(x*1.0, False); t.std(x*1.0, 0, True, True); t.var(x*1.0, 1, False)
t.var_mean(x*1.0, (0, 1)); t.norm(x*1.0); (x*1.0).norm(1, 0); (x*1.0).norm(3, 1, True)
t.norm(x*1.0, p=0.5); x.H; x.mH; x.angle(); x.real; x.cdouble().imag; x.cfloat().real
x.cdouble().angle(); x.is_complex(); x.resolve_conj(); x.resolve_neg(); x.clone().conj_physical_()
x.clone().absolute_(); x.clone().negative_(); (x*1.0).fix_(); (x*1.0).arccos_(); (x*1.0).arcsin_()
(x*1.0).arctan_(); (x*1.0).arccosh_(); (x*1.0).arcsinh_(); (x*0.3).arctanh_(); t.arcsinh(x)
t.arctanh(x*0.3); (x*1).cumsum_(0); (x*1.0).cumprod_(-1)
(x.detach().float().abs()+0.5).polygamma_(1)
x.clone().t_(); x.clone().transpose_(0, -1); x.clone().squeeze_(); x.clone().squeeze_(0)
x.clone().unsqueeze_(-1); x.clone().fill_diagonal_(2); x.clone().fill_diagonal_(2, wrap=True)
(x*1.0).index_reduce_(0, t.tensor([0, 2]), x[:2]*1.0, 'amax')
(x*1.0).index_reduce_(0, t.tensor([1, 1]), x[:2]*1.0, 'mean', include_self=False)
x.clone().masked_scatter_(x>0, x); x.clone().put_(t.tensor([0, 2]), x.ravel()[:2])
(x*1).put_(t.tensor([1, 1]), x.ravel()[:2]*1, accumulate=True); (x*1).bitwise_left_shift_(2)
(x*1).bitwise_right_shift_(1); (x*1.0).cauchy_().shape; (x*1.0).exponential_().shape
(x*1.0).geometric_(0.5).shape; (x*1.0).log_normal_().shape; x.is_signed()
t.is_nonzero(x); t.poisson(x.detach()*0.0); x.is_cuda; x.is_meta; x.is_quantized; x.is_sparse
x.get_device(); x.retains_grad; x[t.newaxis]; x[:, t.newaxis]; t.row_stack([x, x])
t.trapz(x*1.0); t.trapz(x*1.0, dx=0.5, dim=1); x.clone().trunc_()
"""

TWO = """
t.clamp(x, y); t.clamp(x, max=y); t.clamp(x, y, y+1); t.where(x>0, x, y); t.where(x>0, y, 1)
t.where(x>0, 2.5, x); x.where(y>0, 1); t.lerp(x, y, 0.3); (x*1.0).lerp_(x*2.0, 0.25)
(x*1.0).lerp(x*2.0, x*0.5); t.cat([x, y]); t.stack([x, y]); t.stack([x, y], -1)
t.cat((x, y), dim=1); t.cat([x, y], axis=0); t.hstack([x, y]); t.vstack([x, y]); x.expand_as(y)
t.maximum(x, y); t.max(x, y); t.min(x, other=y); x.type_as(y)
t.promote_types(x.dtype, y.dtype) == (x[:0]+y[:0]).dtype; t.add(x, y, alpha=2); x.sub(y, alpha=3)
t.subtract(x, y); t.multiply(x, y); t.divide(x, y); t.div(x, y, rounding_mode='floor')
x.div(y, rounding_mode='trunc'); x/y; x//3; x%2; x**2; x**3; 2.0**x; 2-x; 1/x; -x; abs(x)
x.eq(y).sum(); t.hypot(x*1.0, y*1.0); x.clone().copy_(y); (x*1.0).copysign_(y)
(x*1.0).atan2_(y*1.0); t.dot(x.ravel()[:3], x.ravel()[:3]); x.divide(y); x.true_divide(y)
t.true_divide(x, y); x.multiply(y); x.subtract(y); x.add(y, alpha=2); x.arctan2(y); x.greater(y)
x.logaddexp(y); x.less_equal(y); x.not_equal(y); x.less(y); x.greater_equal(y); t.arctan2(x, y)
(x*1.0).arctan2_(y*1.0); x.clone().divide_(y); x.clone().true_divide_(y); x.clone().multiply_(y)
x.clone().divide_(y, rounding_mode='floor'); x.clone().subtract_(y, alpha=2)
(x*1).bitwise_left_shift_(y.abs()); (x*1).bitwise_right_shift_(y.abs())
(x*1.0).addcmul_(x*1.0, y*1.0, value=0.5); (x*1.0).addcdiv_(x*1.0, y*1.0+4, value=0.5)
t.not_equal(x, y); t.less(x, y); t.greater(x, y); t.less_equal(x, y); t.greater_equal(x, y)
"""

PRODUCTS = """
t.matmul(x, y); x@y; x.matmul(y); t.mm(x, y); x.mm(y); t.bmm(x, y); x.bmm(y); t.mv(x, y); x.mv(y)
t.dot(x, y); x.dot(y); t.outer(x, y); x.outer(y); F.linear(x, y.mT); F.linear(x, y)
t.ger(x, y); x.ger(y); t.outer(x, y).addr_(x, y, beta=2, alpha=3); x.mv(y).addmv_(x, y, alpha=2)
x.mm(y).addmm_(x, y, beta=2, alpha=3); x.bmm(y).baddbmm_(x, y, beta=2); x.bmm(y)[0].addbmm_(x, y)
"""

MAKE = """
t.arange(5); t.arange(5.0); t.arange(1, 4, 0.5); t.arange(5, 1, -2); t.arange(0, 1, 0.1)
t.arange(3, dtype=t.float64); t.arange(0); t.arange(1.5, dtype=t.int64); t.arange(2, 2)
t.arange(0.5, 5.5, dtype=t.int32); t.eye(3); t.eye(2, 4); t.eye(3, dtype=t.int64); t.eye(0)
t.full((2, ), 1); t.full((2, ), 1.5); t.full((2, ), True); t.full((), 3, dtype=t.float64)
t.full([2, 2], float('inf')); t.zeros(2, 3); t.zeros((2, 3)); t.zeros([2]); t.zeros(())
t.zeros(0); t.ones(2, dtype=t.bool); t.tensor(1); t.tensor(1.5); t.tensor(True)
t.tensor([1, 2.5]); t.tensor([True, 2]); t.tensor([True, 2.0]); t.tensor([]); t.tensor([[]])
t.tensor([1], dtype=t.float16); t.tensor([1.9, -1.9], dtype=t.int64)
t.tensor([1, 2], dtype=t.bool); t.tensor([2**40]); t.tensor(300, dtype=t.int32)
t.as_tensor([1.0]); t.as_tensor(3); t.tensor([[1, 2], [3, 4]]).tolist(); t.tensor(2.5).item()
float(t.tensor(2.5)); int(t.tensor(3)); bool(t.tensor(0))
tuple(t.broadcast_shapes((2, 1), (3, ))); t.as_tensor([1, 2], dtype=t.float32); t.randperm(0)
t.randint(3, (0, )); t.rand(0); sorted(t.randperm(6).tolist()); t.randint(5, 6, (3, ))
t.randn(2, 3, dtype=t.float64).dtype == t.float64; t.normal(1.0, 0.0, (3, ))
t.get_default_dtype() == t.float32; t.set_default_dtype(t.float32); t.is_grad_enabled()
t.set_num_threads(t.get_num_threads()); t.tensor([1.0], requires_grad=True).is_leaf
t.manual_seed(3).initial_seed(); [t.manual_seed(4), t.initial_seed()][1]; isinstance(t.seed(), int)
[d.itemsize for d in (t.bool, t.uint8, t.int8, t.int16, t.short, t.int32, t.int)]
[d.itemsize for d in (t.int64, t.long, t.uint16, t.uint32, t.uint64)]
[d.itemsize for d in (t.float16, t.half, t.bfloat16, t.float32, t.float)]
[d.itemsize for d in (t.float64, t.double, t.complex64, t.complex128)]
t.round(t.tensor([0.5, 1.5, 2.5, -0.5])); t.tensor(5.0)[None]; t.no_grad()(t.is_grad_enabled)()
t.no_grad(t.is_grad_enabled)(); t.enable_grad()(t.is_grad_enabled)()
t.set_grad_enabled(mode=True).__exit__(None, None, None); t.ones(3).fill_(2)
t.can_cast(t.int32, t.float32); t.can_cast(t.float32, t.int32); t.can_cast(t.int64, t.bool)
[t.e, t.pi, t.inf]; t.isnan(t.tensor(t.nan)); t.frombuffer(bytearray(range(8)), dtype=t.int32)
t.frombuffer(bytearray(range(8)), dtype=t.uint8, count=3, offset=2); t.fft.fftfreq(5, 0.5)
t.linalg.norm(t.tensor([3.0, 4.0])); t.special.expit(t.tensor([0.5, -2.0]))
"""

REFUSED = """
t.arange(-3); t.arange(1, 0); t.tensor([1, 2**63]); t.tensor([2**63]); t.tensor([[1], [2, 3]])
t.tensor(float('inf'), dtype=t.int64); t.tensor([float('nan')], dtype=t.int32); t.zeros(2, -1)
t.tensor(2**63); t.zeros(3).sum(1); t.zeros(3).cumsum(); t.zeros(2, 3) @ t.zeros(2, 3)
t.zeros(3).amax(dim=(0, 0)); t.zeros(0).amax(); t.zeros(0).argmax(); t.zeros(2).item()
t.zeros(2, 3).view(4); t.ones(3, dtype=t.int64).mean(); t.zeros(3).add_(t.zeros(4))
"""

IMAGES = """
F.pad(x, (1, 2)); F.pad(x, (1, 2, 0, 1), value=3); F.pad(x, (-1, 2))
F.pad(x, (2, 2, 1, 1), 'reflect'); F.pad(x, (2, 2, 1, 1), 'replicate'); F.normalize(x)
F.normalize(x, p=1, dim=-1); F.normalize(x, dim=(1, 2)); F.max_pool2d(x, 2)
F.max_pool2d(x, (3, 2), 1, 1); F.max_pool2d(x, 2, ceil_mode=True)
F.max_pool2d(x, 2, return_indices=True); F.max_pool2d(x, 3, 2, 1, 2); F.avg_pool2d(x, 2)
F.avg_pool2d(x, 3, 2, 1, True, False); F.avg_pool2d(x, 2, divisor_override=3)
F.adaptive_avg_pool2d(x, (3, None)); F.adaptive_avg_pool2d(x, 4); F.adaptive_max_pool2d(x, 3)
F.adaptive_max_pool2d(x, (2, 3), True); F.layer_norm(x, (6, 5)); F.layer_norm(x, (5, ), eps=1e-2)
F.group_norm(x, 3); F.batch_norm(x, None, None, training=True); F.gelu(x)
F.gelu(x, approximate='tanh'); F.softplus(x, 2, 1); F.elu(x, .5); F.leaky_relu(x, .3); F.silu(x)
F.softmax(x, 1); F.log_softmax(x, -1); F.softmax(x, 1, dtype=t.float64); F.relu(x)
F.dropout(x, 0.0); F.dropout(x, 1.0); F.dropout(x, 0.5, False); F.dropout1d(x[0], 0.5, False)
F.dropout2d(x, 1.0); F.dropout3d(x[None], 1.0); F.one_hot(x.long().abs())
F.one_hot(x.long().abs(), 7); F.conv2d(x, x[:, :, :3, :2])
F.conv2d(x, x[:, :, :3, :2], stride=2, padding=1); F.conv2d(x, x[:, :, :3, :3], padding='same')
F.conv2d(x, x[:, :, :3, :2], dilation=(1, 2)); F.conv2d(x[:, :2], x[:, :1, :3, :2], groups=2)
F.conv_transpose2d(x, x[:1].reshape(3, 1, 6, 5)); F.conv2d(x[0], x[:, :, :3, :2])
t.conv_transpose2d(x, x[0][:, None]); t.conv_transpose3d(x[None], x[:, None, :2])
F.conv_transpose3d(x[None], x[:, None, :2]); F.conv_transpose1d(x[0][:, :3], x[0])
t.conv_transpose1d(x[0][:, :3], x[0], stride=2); F.max_pool1d(x[0], 2); F.avg_pool1d(x[0], 2)
F.max_pool3d(x, 2); F.avg_pool3d(x, (1, 2, 2)); F.adaptive_avg_pool1d(x[0], 2)
F.adaptive_avg_pool3d(x, 2); F.adaptive_max_pool1d(x[0], 2); F.adaptive_max_pool3d(x, 2)
F.feature_alpha_dropout(x, 0.5, False); F.fractional_max_pool2d(x, 2, output_size=(3, 2)).shape
F.gumbel_softmax(x, hard=True).detach().sum(-1); F.sigmoid(x); F.tanh(x); F.normalize(x, eps=10.0)
"""

LOSSES = """
F.cross_entropy(x, y, reduction=m); F.cross_entropy(x, y, z, reduction=m)
F.cross_entropy(x, y, ignore_index=0, reduction=m)
F.cross_entropy(x, y, label_smoothing=.2, reduction=m)
F.cross_entropy(x, y, z, label_smoothing=.2, ignore_index=0, reduction=m)
F.cross_entropy(x, t.softmax(x.detach(), 1), reduction=m)
F.cross_entropy(x, x.detach().exp(), z, label_smoothing=.3, reduction=m)
F.nll_loss(x, y, z, reduction=m); F.nll_loss(x, y, ignore_index=1, reduction=m)
F.cross_entropy(x, y*0+5, ignore_index=5, reduction=m)
F.nll_loss(x[:, :, None], y[:, None], reduction=m); F.cross_entropy(x[0], y[0], reduction=m)
F.cross_entropy(x[:0], y[:0], reduction=m); F.cross_entropy(x, y, None, None, -100, None, m)
F.cross_entropy(x, y, size_average=False); F.nll_loss(x, y, reduce=False)
F.mse_loss(x, x.exp(), reduction=m); F.mse_loss(x, x.exp(), None, None, m)
F.mse_loss(x, x.exp(), size_average=False); F.mse_loss(x, x.exp(), reduce=False)
F.mse_loss(x, x.exp(), weight=x.abs(), reduction=m); F.mse_loss(x[:0], x[:0], reduction=m)
F.mse_loss(x, x.double(), reduction=m); F.l1_loss(x, x.exp(), reduction=m)
F.l1_loss(x, x.exp(), None, None, m); F.l1_loss(x, x.exp(), reduce=True, size_average=False)
F.l1_loss(x, x.exp(), weight=x.abs(), reduction=m); F.l1_loss(x, x, reduction=m)
"""


def calls(text: str) -> list[str]:
    """The expressions of a table."""
    return [e.strip() for line in text.strip().splitlines() for e in line.split(";")]
