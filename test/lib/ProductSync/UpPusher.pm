# Sends what is to be sent by the real thing, sync_run_shopify_up(), for the random test of everything; has the methods of ProductSync::Pusher.
package ProductSync::UpPusher;
use strict;
use warnings;
use JSON::PP;
use List::Util qw(sum0);

# sql and work: subs; double: the ProductSync::Shopify; shop: its ProductSync::Merchant, whose count of writes is kept; world.
sub new { my ($class, %option) = @_; return bless { sent => 0, lost => 0, stale => 0, %option }, $class }

sub writes { my ($self) = @_; my $counts = $self->{double}->effects->{counts}; return sum0 map { $counts->{$_} } grep { /^app\./ } keys %$counts }

# What would be staged now, by product.
sub outbox
{
	my ($self) = @_;
	my $rows = $self->{sql}->("SELECT coalesce(jsonb_object_agg(f.remote_id::text || ' ' || f.path, jsonb_build_array(f.shop_value, f.local_value)), '{}')"
		. " FROM sync.push_fields(2147483647, 'shop', ARRAY(SELECT product_id FROM sync.product_listing), NULL) f");
	return JSON::PP->new->decode($rows);
}

# One run, with what waits for people approved; of some requests the answer is lost.  Returns how many writes the shop has had from it.
sub push
{
	my ($self, %option) = @_;
	my $before = $self->writes;
	my $lose = $option{lose} && $self->{world}->chance($option{lose} * 3);
	$self->{double}->control(lose_answer_next => 1 + $self->{world}->below(4), lose_answer_of => 'mutation') if $lose;
	$self->{sql}->('SELECT sync_run_shopify_up()');
	$self->{work}->('10 seconds');
	if ($self->{world}->chance($option{share} // 1))
	{
		$self->{sql}->(q(SELECT sync_approve_where('{"connection": "shop", "method": "push", "without_flags": ["stale"]}', 'test', dry_run => false)));
		$self->{work}->('10 seconds');
	}
	if ($lose)
	{
		$self->{double}->control(lose_answer_next => 0);
		$self->{lost}++;
	}
	$self->{stale} = $self->{sql}->("SELECT count(*) FROM sync.push WHERE state = 'stale'");
	my $sent = $self->writes - $before;
	# Merchants see what is there now.
	$self->{shop}->all if $sent;
	$self->{sent} += $sent;
	$self->{shop}{writes} = $self->writes;
	return $sent;
}

1;
