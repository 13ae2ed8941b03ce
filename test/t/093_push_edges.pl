# Edges of the push: answers that are lost between the shop and the commit, names that are odd, runs that are cancelled at the wrong moment.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Push;
use ProductSync::Session;

my $push = ProductSync::Push->new(products => 60);
my ($node, $shop) = @$push{qw(node shop)};
my $sku_of = sub { return $push->value("SELECT min(sku) FROM sync.variant WHERE product_id = $_[0]") };
my $theirs = sub { my ($s) = @_; return (grep { $_->{sku} eq $s } map { @{ $_->{variants} } } @{ $shop->products })[0] };
my $left = sub { return $push->value('SELECT concat_ws(\' \', (SELECT count(*) FROM sync.push WHERE ended_at IS NULL), (SELECT count(*) FROM sync.push_call WHERE finished_at IS NULL), (SELECT count(*) FROM sync.staging WHERE state::text = \'sending\'))') };
my $approve = sub { $push->sql("SELECT sync_approve_where('{\"run_id\": $_[0]}', NULL, dry_run => false)") };

# The next transaction that would $event where $when holds is rolled back, as by a deadlock or a crash; what it worked on is held until go_on().
sub lose_commit
{
	my ($event, $when) = @_;
	my ($table) = $event =~ / ON (\S+)/;
	$push->sql("UPDATE sync.job_kind SET backoff_base = '10 hours', backoff_cap = '10 hours' WHERE kind = 'shopify_push'");
	$push->sql("DROP SEQUENCE IF EXISTS public.lost; CREATE SEQUENCE public.lost; CREATE OR REPLACE FUNCTION public.lose() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
		. "'BEGIN IF nextval(''public.lost'') = 1 THEN RAISE EXCEPTION USING ERRCODE = ''serialization_failure'', MESSAGE = ''lost''; END IF; RETURN NEW; END'"
		. "; CREATE TRIGGER zz_lose BEFORE $event FOR EACH ROW WHEN ($when) EXECUTE FUNCTION public.lose()");
	return $table;
}

sub go_on
{
	my ($table) = @_;
	is($push->value('SELECT is_called FROM public.lost'), 't', '... an answer is lost before it was committed');
	$push->sql("DROP TRIGGER zz_lose ON $table; UPDATE sync.job_kind SET backoff_base = '1 millisecond', backoff_cap = '1 millisecond' WHERE kind = 'shopify_push'; UPDATE sync.job SET run_at = now()");
	$push->work;
}

# ---- an answer that came, and was not committed -----------------------------------------------------------------------------------------

my $a = $sku_of->(1);
$push->sql("UPDATE sync.variant SET price = price + 1 WHERE sku = '$a'");
my $table = lose_commit('INSERT ON sync.push_event', "NEW.to_state = 'synced'");
my $run = $push->sql('SELECT sync_run_shopify_up()');
$push->work('2 seconds');
$shop->edit({ product => $push->remote(1), variants => { $a => { price => 77.77 } } });
go_on($table);
is($theirs->($a)->{price}, '77.77', 'what a merchant did after a price was set stays, when that is tried again') or diag $push->story($run);
is($left->(), '0 0 0', 'and nothing hangs');

$push->sql("WITH p AS (INSERT INTO sync.product (handle, title, status) VALUES ('once-only', 'Once only', 'active') RETURNING id) INSERT INTO sync.variant (product_id, sku, price) SELECT id, 'ONCE-1', 5 FROM p");
my $new = $push->value("SELECT id FROM sync.product WHERE handle = 'once-only'");
$run = $push->up("sync_stage_shopify_up(ARRAY[$new])");
$table = lose_commit('UPDATE ON sync.push', "NEW.remote_id IS NOT NULL AND OLD.remote_id IS NULL");
$approve->($run);
$push->work('2 seconds');
go_on($table);
is(scalar(grep { $_->{title} eq 'Once only' } @{ $shop->products }), 1, 'a product is made once');
like($push->state($run), qr/^complete 1 applied/, 'and linked') or diag $push->story($run);

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_bulk_above\": \"5\"}' WHERE name = 'shopify'");
$a = $sku_of->(11);
$push->sql("UPDATE sync.variant SET price = price + 1 WHERE product_id BETWEEN 11 AND 20");
$table = lose_commit('UPDATE ON sync.push_call', 'NEW.bulk_id IS NOT NULL AND OLD.bulk_id IS NULL');
my $mark = $push->mark;
$run = $push->sql('SELECT sync_run_shopify_up()');
$push->work('2 seconds');
sleep 1;
$shop->edit({ product => $push->remote(11), variants => { $a => { price => 77.77 } } });
go_on($table);
is($push->calls($mark)->{bulkOperationRunMutation}, 1, 'a bulk mutation is started once');
is($theirs->($a)->{price}, '77.77', 'so what a merchant did after it stays') or diag $push->story($run);
is($left->(), '0 0 0', 'and nothing hangs');

# ---- cancelled, or changed in the shop, while a bulk mutation waits for its turn --------------------------------------------------------------

$a = $sku_of->(22);
my $was = $theirs->($a)->{price};
$push->sql("UPDATE sync.product SET title = title || ' x' WHERE id BETWEEN 21 AND 30; UPDATE sync.variant SET price = price + 1 WHERE product_id BETWEEN 21 AND 30");
$shop->control(bulk_concurrent => 0);
$run = $push->sql('SELECT sync_run_shopify_up()');
$push->work('3 seconds');
is($push->value("SELECT string_agg(step, ' ') FROM sync.push_call WHERE finished_at IS NULL"), 'start', 'a bulk mutation waits for its turn') or diag $push->story($run);
$shop->edit({ product => $push->remote(22), variants => { $a => { price => 66.66 } } });
$push->sql("UPDATE sync.push_call SET checked_at = checked_at - interval '1 hour' WHERE finished_at IS NULL");
$shop->control(bulk_concurrent => 5);
$push->sql("UPDATE sync.job_kind SET backoff_base = '1 millisecond', backoff_cap = '1 millisecond' WHERE kind = 'shopify_push'");
$push->sql('UPDATE sync.job SET run_at = now()');
$push->work;
is($theirs->($a)->{price}, '66.66', 'a price that a merchant changed while it waited is not overwritten') or diag $push->story($run);
is($left->(), '0 0 0', 'and nothing hangs');

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_bulk_above\": \"300\"}' WHERE name = 'shopify'");

# ---- odd names -----------------------------------------------------------------------------------------------------------------------------

$push->sql(q(UPDATE sync.product SET title = 'Odd', metafields = metafields || '{"custom.100%": "x", "custom.a.b": "y"}' WHERE id = 41; UPDATE sync.product SET title = 'Even' WHERE id = 42));
$run = $push->up;
$approve->($run);
$push->work;
is($shop->product($push->remote(42))->{title}, 'Even', 'a metafield with an odd name does not stop other products') or diag $push->story($run);
is($push->value("SELECT count(*) FROM sync.staging WHERE run_id = $run AND state = 'failed' AND error !~ '\"Odd\"|\"' "), 0, 'and errors name the product');

is($push->value(q(SELECT string_agg(path || ' ' || sync.push_root(path, to_jsonb('x'::text)), ', ') FROM sync.document_diff('{"variants": {"A]": {"options": {"Size [cm]": "1"}}}}', '{"variants": {"A]": {"options": {"Size [cm]": "2"}}}}'))),
	'variants["A]"].options.Size [cm] variants', 'an option whose name ends with a bracket is no variant');

# ---- images in another order -----------------------------------------------------------------------------------------------------------------

$push->sql(q(UPDATE sync.product SET images = '[{"src": "https://example.com/b.jpg", "alt": "B"}, {"src": "https://example.com/a.jpg", "alt": "A"}]' WHERE id = 43));
$run = $push->up;
$approve->($run);
$push->work;
$push->sql(q(UPDATE sync.product SET images = '[{"src": "https://example.com/a.jpg", "alt": "A"}, {"src": "https://example.com/b.jpg", "alt": "B"}]' WHERE id = 43));
$run = $push->up;
$approve->($run);
$push->work;
like($push->state($run), qr/^complete 1 applied/, 'images are put in another order') or diag $push->story($run);
is_deeply([ map { $_->{alt} } @{ $shop->product($push->remote(43))->{images} } ], [ 'A', 'B' ], 'as they are here');

# ---- a variant beside the only one -------------------------------------------------------------------------------------------------------------

$shop->seed({ title => 'Single', handle => 'single', variants => [ { sku => 'SINGLE-1', price => 5 } ] });
$push->pull('full');
my $single = $push->value("SELECT product_id FROM sync.variant WHERE sku = 'SINGLE-1'");
$push->sql("INSERT INTO sync.variant (product_id, sku, price, options) VALUES ($single, 'SINGLE-2', 6, '{\"Title\": \"Large\"}')");
$run = $push->up;
$approve->($run);
$push->work;
is(join(' ', sort map { $_->{sku} } @{ $shop->product($push->remote($single))->{variants} }), 'SINGLE-1 SINGLE-2', 'a variant that comes leaves the one that was there') or diag $push->story($run);

# ---- a product that a merchant made meanwhile ----------------------------------------------------------------------------------------------------

$push->sql("WITH p AS (INSERT INTO sync.product (handle, title, status) VALUES ('both-sides', 'Ours', 'active') RETURNING id) INSERT INTO sync.variant (product_id, sku, price) SELECT id, 'BOTH-1', 5 FROM p");
$new = $push->value("SELECT id FROM sync.product WHERE handle = 'both-sides'");
$run = $push->up("sync_stage_shopify_up(ARRAY[$new])");
$shop->seed({ title => 'Theirs', handle => 'both-sides', variants => [ { sku => 'BOTH-1', price => 9 } ] });
$approve->($run);
$push->work;
$push->pull('full');
isnt($push->value("SELECT concat_ws(' ', state, (SELECT price FROM sync.variant WHERE sku = 'BOTH-1'), (SELECT count(*) FROM sync.conflict WHERE product_id = $new AND state = 'open')) FROM sync.staging WHERE run_id = $run"), 'applied 5.00 0',
	'a product that a merchant made meanwhile is not taken for ours') or diag $push->story($run);
like($push->value("SELECT error FROM sync.staging WHERE run_id = $run"), qr/"Ours".*the shop has/, 'and words say so');

# ---- currency --------------------------------------------------------------------------------------------------------------------------------------

$a = $sku_of->(45);
$was = $theirs->($a)->{price};
$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_approve\": \"\"}' WHERE name = 'shopify'");
$push->sql("UPDATE sync.variant SET price = price + 1 WHERE sku = '$a'");
$run = $push->up;
$push->sql("UPDATE sync.variant SET currency = 'CAD' WHERE sku = '$a'");
$approve->($run);
$push->work;
is($theirs->($a)->{price}, $was, 'an amount whose currency changed after it was staged is not sent') or diag $push->story($run);

# ---- attributes that a shop has no place for ------------------------------------------------------------------------------------------------------------

$push->sql(q(UPDATE sync.product SET attributes = attributes || '{"google_mpn": "x"}' WHERE id = 46));
$run = $push->up("sync_stage_shopify_up(ARRAY[46])");
is($push->state($run), 'complete nothing differs', 'attributes that a shop has no place for are not offered') or diag $push->story($run);

# ---- two that end an entry at one time ---------------------------------------------------------------------------------------------------------------

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_approve\": \"stock price\", \"push_stock_batch\": \"1\"}' WHERE name = 'shopify'");
$push->sql("UPDATE sync.stock_level SET local = base + 1 WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id = 47)");
$run = $push->sql('SELECT sync_run_shopify_up()');
$push->sql("SELECT sync_pause('shopify', 'test')");
$push->work('2 seconds');
my $pushes = $push->value("SELECT count(*) FROM sync.push WHERE run_id = $run AND ended_at IS NULL");
is($pushes, 4, 'levels wait') or diag $push->story($run);
my $other = ProductSync::Session->new($node->connstr('postgres'));
$_->('SET ROLE sync_worker') for sub { $push->sql(@_) }, sub { $other->ask(@_) };
$push->sql("SELECT sync.push_move(ARRAY(SELECT id FROM sync.push WHERE run_id = $run), 'queued')");
my @ids = split / /, $push->value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM sync.push WHERE run_id = $run");
my $last = pop @ids;
$push->sql("SELECT sync.push_end(ARRAY[" . join(',', @ids[1 .. $#ids]) . "]::bigint[], 'cancelled', 'test')");
# One transaction ends the last but one and is not committed yet, another ends the last.
$other->ask("BEGIN; SELECT sync.push_end(ARRAY[$ids[0]]::bigint[], 'cancelled', 'test')");
$push->sql("SET lock_timeout = '1s'");
my $second = eval { $push->sql("SELECT sync.push_end(ARRAY[$last]::bigint[], 'cancelled', 'test')"); 1 };
$push->sql('RESET lock_timeout');
$other->ask('COMMIT');
$push->sql("SELECT sync.push_end(ARRAY[$last]::bigint[], 'cancelled', 'test')") if !$second;
$push->sql('RESET ROLE');
is($push->value("SELECT string_agg(DISTINCT state::text, ' ') FROM sync.staging WHERE run_id = $run AND product_id = 47"), 'superseded', 'an entry whose last two pushes end at one time ends');
$push->sql("SELECT sync_resume('shopify')");
$push->work;
is($left->(), '0 0 0', 'and nothing hangs');
$push->up;
is($push->apart('product_id = 47'), '', 'what was not sent is staged anew');

# ---- what the shop refuses again and again ---------------------------------------------------------------------------------------------------------------

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_after_changes\": \"true\", \"push_debounce\": \"0\"}' WHERE name = 'shopify'");
$push->sql("UPDATE sync.stock_level SET local = base + 2000000000 WHERE id = (SELECT min(n.id) FROM sync.stock_level n JOIN sync.variant v ON v.id = n.variant_id WHERE v.product_id = 48)");
my $runs = $push->value('SELECT count(*) FROM sync.run');
$push->up;
$push->work('8 seconds');
cmp_ok($push->value('SELECT count(*) FROM sync.run') - $runs, '<', 4, 'a level that the shop refuses is not tried without end') or diag $push->value("SELECT string_agg(concat_ws(' ', id, state, error), E'\\n') FROM (SELECT * FROM sync.staging ORDER BY id DESC LIMIT 10) s");

# ---- a bulk mutation that is uploaded, and cancelled ------------------------------------------------------------------------------------------------------

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_after_changes\": \"false\", \"push_bulk_above\": \"5\"}' WHERE name = 'shopify'");
$push->sql("UPDATE sync.stock_level SET local = base; UPDATE sync.variant SET price = price + 1 WHERE product_id BETWEEN 51 AND 60");
$shop->control(bulk_concurrent => 0);
$run = $push->sql('SELECT sync_run_shopify_up()');
$push->work('3 seconds');
is($push->value("SELECT string_agg(step, ' ') FROM sync.push_call WHERE finished_at IS NULL"), 'start', 'a bulk mutation waits for its turn') or diag $push->story($run);
# It has been refused once, as too many run; what has not gone out at all is cancelled.
$push->sql("SET ROLE sync_worker; SELECT sync.push_move(ARRAY(SELECT id FROM sync.push WHERE ended_at IS NULL), 'checking'); RESET ROLE; SELECT sync_cancel($run)");
$shop->control(bulk_concurrent => 5);
$push->sql('UPDATE sync.job SET run_at = now()');
$mark = $push->mark;
$push->work;
is($push->calls($mark)->{bulkOperationRunMutation}, undef, 'what was uploaded and then cancelled is not started');
is($push->value("SELECT string_agg(DISTINCT state::text, ' ') FROM sync.staging WHERE run_id = $run AND product_id BETWEEN 51 AND 60"), 'superseded', 'and is void');
is($left->(), '0 0 0', 'and nothing hangs');
$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_bulk_above\": \"300\"}' WHERE name = 'shopify'");

# ---- an image that Shopify cannot fetch -----------------------------------------------------------------------------------------------------------------------

$shop->control(media_fail_next => 1);
$push->sql(q(UPDATE sync.product SET images = images || '[{"src": "https://example.com/broken.jpg", "alt": "Broken"}]' WHERE id = 43));
$run = $push->up("sync_stage_shopify_up(ARRAY[43], ARRAY['images'])");
$approve->($run);
my $begun = time;
$push->work;
cmp_ok(time - $begun, '<', 10, 'an image that Shopify cannot fetch is not waited for');
like($push->value("SELECT concat_ws(' ', state, error) FROM sync.staging WHERE run_id = $run"), qr/^failed images of ".*".*Shopify could not/, 'and its entry fails, with words') or diag $push->story($run);
is($left->(), '0 0 0', 'and nothing hangs');

# ---- a variant that a merchant still works on ------------------------------------------------------------------------------------------------------------------

my %delete;
for my $product (37, 38)
{
	$delete{$product} = $sku_of->($product);
	$push->sql("DELETE FROM sync.variant WHERE sku = '$delete{$product}'");
}
$run = $push->up('sync_stage_shopify_up(ARRAY[37, 38])');
is($push->value("SELECT string_agg(product_id || ' ' || flags::text, ' ' ORDER BY product_id) FROM sync.staging WHERE run_id = $run"), '37 {variant_removed} 38 {variant_removed}', 'variants are to go') or diag $push->story($run);
$shop->edit({ product => $push->remote(37), variants => { $delete{37} => { price => 55.55 } } });
$approve->($run);
$push->work;
is($theirs->($delete{37}) && $theirs->($delete{37})->{price}, '55.55', 'one that the shop changed after it was approved is not deleted') or diag $push->story($run);
is($theirs->($delete{38}), undef, 'another is');
is($left->(), '0 0 0', 'and nothing hangs');
done_testing();
