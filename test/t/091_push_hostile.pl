# What goes wrong between approval and the shop: nothing is overwritten, nothing is done twice, nothing is lost, and each ends with words that name
# the product and say what to do.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Proxy;
use ProductSync::Push;

my $proxy;
my $push = ProductSync::Push->new(products => 40, via => sub { $proxy = ProductSync::Proxy->start(target => $_[0]) });
my $shop = $push->{shop};

# A run of the push up to what waits for the workers: approved, not sent yet.
sub approved
{
	my ($sql) = @_;
	$push->sql($sql);
	my $run = $push->sql('SELECT sync_run_shopify_up()');
	# Local jobs only: the network is away.
	$push->sql("UPDATE sync.job_kind SET batch = 1 WHERE kind = 'shopify_push'");
	$push->sql("SELECT sync_pause('shopify', 'test')");
	$push->work('1 second');
	$push->sql("SELECT sync_resume('shopify')");
	return $run;
}

my $sku_of = sub { return $push->value("SELECT min(sku) FROM sync.variant WHERE product_id = $_[0]") };
my $price = sub { return $push->value("SELECT price FROM sync.variant WHERE sku = '$_[0]'") + 0 };
my $theirs = sub { my ($s) = @_; return (grep { $_->{sku} eq $s } map { @{ $_->{variants} } } @{ $shop->products })[0] };

# ---- the shop moves on between approval and execution --------------------------------------------------------------------------------

my $a = $sku_of->(1);
my $run = approved("UPDATE sync.variant SET price = price + 1 WHERE sku = '$a'; UPDATE sync.product SET title = 'Ours' WHERE id = 2");
$shop->edit({ product => $push->remote(1), variants => { $a => { price => 77.77 } } });
$push->work;
is($theirs->($a)->{price}, '77.77', 'a price that the shop changed meanwhile is not overwritten');
is($push->value("SELECT state FROM sync.staging WHERE run_id = $run AND product_id = 1"), 'superseded', 'its entry, which went by itself, is void');
like($push->value("SELECT error FROM sync.staging WHERE run_id = $run AND product_id = 1"), qr/the shop changed variants\[$a\].price from .* to 77.77/, 'and says why');
is($push->value("SELECT count(*) FROM sync.conflict WHERE product_id = 1 AND path LIKE '%price' AND state = 'open'"), 1, 'the product was read again, and both changes are before a person')
	or diag $push->story($run);
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', NULL, dry_run => false)");
$shop->edit({ product => $push->remote(2), set => { title => 'Theirs' } });
$push->work;
is($shop->product($push->remote(2))->{title}, 'Theirs', 'a title likewise');
is($push->value("SELECT concat_ws(' ', state, decision, flags) FROM sync.staging WHERE run_id = $run AND product_id = 2"), 'open pending {stale}', 'what a person approved goes back to review');
like($push->value("SELECT reason FROM sync.staging WHERE run_id = $run AND product_id = 2"), qr/the shop changed title from .* to "Theirs" after it was approved.*decide again/, 'with the reason');

my $b = $sku_of->(3);
my ($location) = map { $_->{id} } grep { $_->{name} eq 'Main Warehouse' } @{ $shop->locations };
$run = approved("UPDATE sync.stock_level SET local = base + 5 WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id BETWEEN 3 AND 12)");
my $before = $theirs->($b)->{stock}{$location}{available};
$shop->edit({ order => { sku => $b, location => 'Main Warehouse', quantity => 1 } });
my $mark = $push->mark;
$push->work;
is($theirs->($b)->{stock}{$location}{available}, $before - 1, 'a level that was sold from meanwhile is not set');
is($push->value("SELECT count(*) FROM sync.push WHERE run_id = $run AND state = 'synced'"), 39, 'the other 39 of its call are');
is($push->calls($mark)->{inventorySetQuantities}, 2, 'by a second call: one bad item fails its batch once');
is($push->apart("path NOT LIKE '%$b%' AND path NOT LIKE '%price' AND path <> 'title'"), '', 'and agree');

# ---- answers lost, resets, refusals that pass -------------------------------------------------------------------------------------------------

sub effects { my ($since) = @_; my @list = @{ $shop->effects->{writes} }; return @list[ $since .. $#list ] }
for my $case ([ 'an answer lost after the effect' => sub { $proxy->control(drop_answer => 1, times => 2) }, sub { $proxy->heal } ],
	[ 'a reset in the answer' => sub { $proxy->control(reset_after => 100, times => 2) }, sub { $proxy->heal } ],
	[ 'an answer that is garbage' => sub { $proxy->control(garbage => 1, times => 2) }, sub { $proxy->heal } ],
	[ '503, 500 and 429' => sub { $shop->control(status_next => [ 503, 500, 429 ], retry_after => 0) } ],
	[ 'INTERNAL_SERVER_ERROR' => sub { $shop->control(internal_error_next => 2) } ],
	[ 'THROTTLED' => sub { $shop->control(throttle_next => 2) } ],
	[ 'truncated JSON' => sub { $shop->control(truncate_next => 2) } ],
	[ 'an idempotency key in use' => sub { $shop->control(idempotency_concurrent_next => 2) } ],
	[ 'an idempotency key whose first use failed' => sub { $shop->control(idempotency_failed_next => 1) } ])
{
	my ($name, $break, $heal) = @$case;
	my $n = 20 + int rand 10;
	my $since = @{ $shop->effects->{writes} };
	my $r = approved("UPDATE sync.variant SET price = round(price * 1.01, 2) WHERE product_id BETWEEN 20 AND 24; UPDATE sync.stock_level SET local = base + 1 WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id BETWEEN 20 AND 24)");
	$break->();
	$push->work;
	$heal->() if $heal;
	$push->work;
	like($push->state($r), qr/^complete/, "$name: the run ends well") or diag $push->story($r);
	my %done;
	for my $effect (effects($since))
	{
		$done{"$effect->{product} $_ " . $effect->{fields}{$_}[1]}++ for grep { !/updated/ } keys %{ $effect->{fields} };
	}
	is_deeply([ grep { $done{$_} > 1 } sort keys %done ], [], "$name: nothing was done twice");
	is($push->apart("product_id BETWEEN 20 AND 24"), '', "$name: and all is there");
}

# ---- what the shop refuses, or must not be asked ------------------------------------------------------------------------------------------------

my $gone = $sku_of->(33);
my %sku = map { ($_ => $sku_of->($_)) } 30 .. 36;
$run = approved(<<"END");
UPDATE sync.variant SET price = 0 WHERE sku = '$sku{30}';
UPDATE sync.variant SET price = round(price * 1.02, 2), currency = 'CAD' WHERE sku = '$sku{31}';
UPDATE sync.stock_level SET local = -3 WHERE variant_id = (SELECT id FROM sync.variant WHERE sku = '$sku{32}') AND location_id = $location;
UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{33}';
UPDATE sync.variant SET price = round(price * 3, 2) WHERE sku = '$sku{34}';
UPDATE sync.product SET title = repeat('x', 300) WHERE id = 35;
UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}';
END
$shop->edit({ product => $push->remote(33), remove_variants => [ $sku{33} ] });
$push->work;
is($push->value("SELECT string_agg(product_id || ' ' || flags::text, ', ' ORDER BY product_id) FROM sync.staging WHERE run_id = $run AND decision = 'pending'"),
	'30 {price_jump,price_zero}, 31 {foreign_currency}, 32 {oversold}, 34 {price_jump}, 35 {}', 'a price of 0, another currency, stock below 0 and a jump wait for a person')
	or diag $push->story($run);
like($push->value("SELECT error FROM sync.staging WHERE run_id = $run AND product_id = 33"), qr/variants\Q[$gone]\E\.price of ".*" \(\Q$gone\E\): the variant of .* is no longer in the shop/, 'a variant that is gone ends with words that name it');
is($theirs->($sku{36})->{price} + 0, $price->($sku{36}), 'and does not hold up the others');
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', NULL, dry_run => false)");
$push->work;
like($push->value("SELECT error FROM sync.staging WHERE run_id = $run AND product_id = $_->[0]"), $_->[1], $_->[2])
	for [ 31, qr/in CAD, but the shop sells in USD; set the amount and currency/, 'approved, another currency fails' ],
	[ 32, qr/a stock of -3 cannot be sent to a shop; correct it in the ERP/, 'so does stock below 0' ],
	[ 35, qr/title of "x+" .*: Shopify refuses it: .*too long/i, 'and a title that is too long' ];
is($theirs->($sku{34})->{price} + 0, $price->($sku{34}), 'a jump that a person approved goes');
is($theirs->($sku{30})->{price} + 0, 0, 'so does a price of 0');
is($push->value("SELECT state FROM sync.run WHERE id = $run"), 'complete', 'the run ends');

# ---- the shop as a whole ------------------------------------------------------------------------------------------------------------------

$run = approved("UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}'");
$shop->control(status_next => [402]);
$push->work('2 seconds');
like($push->value("SELECT sync.paused('shopify')"), qr/402.*frozen.*bill/, 'a frozen shop is paused');
is($push->value("SELECT string_agg(state::text, ' ') FROM sync.push WHERE run_id = $run"), 'checking', 'what was to be sent waits');
$push->sql("SELECT sync_resume('shopify')");
$push->work;
is($theirs->($sku{36})->{price} + 0, $price->($sku{36}), 'and goes once it is resumed');
$run = approved("UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}'");
$shop->control(denied => { 'Mutation.productVariantsBulkUpdate' => 'write_products' });
$push->work('2 seconds');
like($push->value("SELECT sync.paused('shopify')"), qr/write_products/, 'a missing scope is named');
$shop->control(denied => {});
$push->sql("SELECT sync_resume('shopify')");
$push->work;
is($theirs->($sku{36})->{price} + 0, $price->($sku{36}), 'and nothing is lost');

# ---- changed here meanwhile, cancelled -------------------------------------------------------------------------------------------------------

$run = approved("UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}'");
$push->sql("UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}'");
my $was = $theirs->($sku{36})->{price};
$push->work;
is($theirs->($sku{36})->{price}, $was, 'what changed here after it was approved is not sent');
my $next = $push->up;
is($theirs->($sku{36})->{price} + 0, $price->($sku{36}), 'but staged anew');
$run = approved("UPDATE sync.stock_level SET local = base + 1 WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id = 36)");
$push->sql("UPDATE sync.stock_level SET local = base + $_ WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id = 36)"), $push->sql('SELECT sync_run_shopify_up()') for 2 .. 10;
$mark = $push->mark;
$push->work;
$push->up;
is($push->calls($mark)->{inventorySetQuantities}, 1, 'ten changes of a level are one call');
is($push->apart('product_id = 36'), '', 'with the last of them');
$run = approved("UPDATE sync.variant SET price = round(price * 1.02, 2) WHERE sku = '$sku{36}'");
$push->sql("SELECT sync_cancel($run)");
$was = $theirs->($sku{36})->{price};
$push->work;
is($push->value("SELECT string_agg(DISTINCT state::text, ' ') FROM sync.staging WHERE run_id = $run"), 'superseded', 'what a cancelled run has not sent is void') or diag $push->story($run);

is($push->value("SELECT count(*) FROM sync.push WHERE ended_at IS NULL"), 0, 'nothing is left under way');
is($push->value("SELECT count(*) FROM sync.push_call WHERE finished_at IS NULL"), 0, 'no call either');
done_testing();
